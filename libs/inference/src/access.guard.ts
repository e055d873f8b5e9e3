import { Inject, Injectable, Optional, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { isObservable, lastValueFrom } from 'rxjs';

const ACCESS_GUARDS = Symbol('MARLINE_ACCESS_GUARDS');

/** The token of the guards (`readonly CanActivate[]`) that protect our routes; without a provider nothing is asked. */
export function getAccessGuardsToken(): symbol {
  return ACCESS_GUARDS;
}

/**
 * The one guard of our controllers. It asks the configured guards in order and refuses at the first that does; what they
 * throw goes to the host's exception filters unchanged.
 */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(
    @Optional() @Inject(ACCESS_GUARDS) private readonly guards: readonly CanActivate[] | undefined,
  ) {}

  /** Answers at once when nobody has to be asked: a promise would cost every request of an open server a turn. */
  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    return this.guards === undefined || this.guards.length === 0 || this.#ask(this.guards, context);
  }

  async #ask(guards: readonly CanActivate[], context: ExecutionContext): Promise<boolean> {
    for (const guard of guards) {
      const answer = guard.canActivate(context);
      const allowed = await (isObservable(answer) ? lastValueFrom(answer, { defaultValue: false }) : answer);
      if (!allowed) return false;
    }
    return true;
  }
}
