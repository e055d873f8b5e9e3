import type { FastifyRequest } from 'fastify';
import { describe, expect, it } from 'vitest';
import { isMarlineError } from '#libs/common';
import { deadlineOf, scheduleOf, type ScheduleRequest } from './request-bounds.js';

const asking = (value?: string | string[]) => ({
  headers: value === undefined ? {} : { 'x-request-timeout-ms': value },
});

describe('deadlineOf', () => {
  it.each([
    [undefined, 0, undefined],
    [undefined, 500, 500],
    ['250', 0, 250],
    ['250', 500, 250],
    ['1000', 500, 500],
    ['999999999999999', 0, 999_999_999_999_999],
  ])('of header %s and client time-out %d is %s', (header, limit, deadline) => {
    expect(deadlineOf(asking(header), limit)).toBe(deadline);
  });

  it.each(['', '0', '000', '-5', '1.5', '1e3', '12ms', 'Infinity', ' 5', '9'.repeat(16), ['1', '2']])(
    'refuses the header %j and says what to give',
    (header) => {
      expect(() => deadlineOf(asking(header), 500)).toThrow(
        expect.objectContaining({ code: 'BAD_REQUEST', message: expect.stringContaining('whole number') }),
      );
    },
  );
});

describe('scheduleOf', () => {
  const request = { headers: { 'x-team': 'a' } } as unknown as FastifyRequest;
  const failure = (schedule: unknown): unknown => {
    try {
      return scheduleOf(request, schedule as ScheduleRequest);
    } catch (error) {
      return error;
    }
  };

  it('gives what the hook says about the request', () => {
    const schedule: ScheduleRequest = ({ headers }) => ({
      priority: 'high',
      tenant: String(headers['x-team']),
    });
    expect(scheduleOf(request, schedule)).toEqual({ priority: 'high', tenant: 'a' });
  });

  it('gives nothing without a hook, or when it says nothing', () => {
    expect(scheduleOf(request, undefined)).toEqual({});
    expect(scheduleOf(request, () => undefined)).toEqual({});
    expect(scheduleOf(request, () => ({}))).toEqual({});
  });

  it.each([
    ['an unknown priority', () => ({ priority: 'urgent' }), 'priority "urgent"'],
    ['a number as priority', () => ({ priority: 1 }), 'priority number'],
    ['a tenant that is no text', () => ({ tenant: {} }), 'tenant object'],
    ['a text', () => 'high', 'must return { priority, tenant }'],
    ['nothing in the wrong way', () => null, 'must return { priority, tenant }'],
    ['a promise', () => Promise.reject(new Error('later')), 'no promise'],
  ])('refuses %s, with the reason for the log alone', (_what, hook, reason) => {
    const error = failure(hook);
    expect(isMarlineError(error) && error.code).toBe('INTERNAL');
    expect((error as Error).message).not.toContain(reason);
    expect(((error as Error).cause as Error).message).toContain(reason);
  });

  it('refuses when the hook throws, and keeps what it threw', () => {
    const thrown = new TypeError('no user');
    const error = failure(() => {
      throw thrown;
    });
    expect(error).toMatchObject({ code: 'INTERNAL', status: 500, cause: thrown });
  });
});
