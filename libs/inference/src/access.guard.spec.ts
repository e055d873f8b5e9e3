import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { EMPTY, of } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { AccessGuard } from './access.guard.js';

const context = {} as ExecutionContext;
const guard = (...answers: ReturnType<CanActivate['canActivate']>[]) =>
  new AccessGuard(answers.map((answer) => ({ canActivate: () => answer })));

describe('AccessGuard', () => {
  it('lets everything through when no guards are configured', async () => {
    expect(await new AccessGuard(undefined).canActivate(context)).toBe(true);
  });

  it('understands values, promises and Observables', async () => {
    expect(await guard(true, Promise.resolve(true), of(true)).canActivate(context)).toBe(true);
    expect(await guard(true, Promise.resolve(false)).canActivate(context)).toBe(false);
    expect(await guard(of(true, false)).canActivate(context)).toBe(false);
    expect(await guard(EMPTY).canActivate(context)).toBe(false);
  });

  it('asks in order and nobody after a refusal', async () => {
    const asked: string[] = [];
    const named = (name: string, answer: boolean): CanActivate => ({
      canActivate: () => asked.push(name) > 0 && answer,
    });
    expect(
      await new AccessGuard([named('a', true), named('b', false), named('c', true)]).canActivate(context),
    ).toBe(false);
    expect(asked).toEqual(['a', 'b']);
  });

  it('passes on what a guard throws', async () => {
    const failing = { canActivate: () => Promise.reject(new TypeError('no token')) };
    await expect(new AccessGuard([failing]).canActivate(context)).rejects.toThrow(TypeError);
  });
});
