import {
  ForbiddenException,
  Injectable,
  Module,
  SetMetadata,
  UnauthorizedException,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';

export interface Account {
  readonly name: string;
  readonly scopes: readonly string[];
}

/** A request of this gateway, once its guard has let it in. */
export interface AccountRequest {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly url: string;
  account?: Account;
}

@Injectable()
export class AccountsService {
  private readonly accounts = new Map<string, Account>([
    ['shop-key', { name: 'shop', scopes: [] }],
    ['client-key', { name: 'client', scopes: ['predict'] }],
    ['operator-key', { name: 'operator', scopes: ['predict', 'operate'] }],
  ]);

  find(key: string): Account | undefined {
    return this.accounts.get(key);
  }
}

@Module({ providers: [AccountsService], exports: [AccountsService] })
export class AccountsModule {}

/** Opens a route of this gateway to everybody. */
export const Public = () => SetMetadata('public', true);

/** The gateway's global guard: every request brings an API key, unless the route is public. */
@Injectable()
export class ApiKeyGuard implements CanActivate {
  constructor(
    private readonly accounts: AccountsService,
    private readonly reflector: Reflector,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    if (this.reflector.get<boolean>('public', context.getHandler())) return true;
    const request = context.switchToHttp().getRequest<AccountRequest>();
    request.account = this.accounts.find(String(request.headers['x-api-key']));
    if (request.account === undefined) throw new UnauthorizedException('Send a valid x-api-key.');
    return true;
  }
}

/** For the routes of the models: who may predict, and who may change what is served. */
@Injectable()
export class ModelScopeGuard implements CanActivate {
  constructor(private readonly accounts: AccountsService) {}

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<AccountRequest>();
    const account = this.accounts.find(String(request.headers['x-api-key']));
    const scope = request.url.startsWith('/ml/models') ? 'operate' : 'predict';
    if (account?.scopes.includes(scope) !== true)
      throw new ForbiddenException(`This needs the scope "${scope}".`);
    return true;
  }
}
