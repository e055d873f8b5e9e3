import { All, Controller, Req, Res, UseFilters } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
import {
  DocumentedAs,
  Plane,
  TorchServeExceptionFilter,
  Undocumented,
  errorContent,
  queryParameter,
  sendBody,
} from '#libs/inference';
import { TokenKeys, type TokenPurpose } from './token-keys.js';

const PURPOSES: readonly string[] = ['management', 'inference'] satisfies TokenPurpose[];

const RENEW = {
  description: 'Renews the key of an API; it is found in the key file. Needs the third key.',
  parameters: [
    {
      ...queryParameter('type', 'The API.', { type: 'string', enum: ['management', 'inference'] }),
      required: true,
    },
  ],
  responses: {
    200: { description: 'It is renewed.' },
    400: errorContent('The key or the type is wrong.'),
  },
};

/** TorchServe's token API: whoever has the third key gets the key of an API renewed, and finds it in the key file. */
@Controller('token')
@Plane('management')
@UseFilters(TorchServeExceptionFilter)
export class TokenController {
  constructor(private readonly keys: TokenKeys) {}

  /** @throws MarlineError `TOKEN_REFUSED`, also for a `type` that is none of TorchServe's */
  @DocumentedAs('get', RENEW)
  @All()
  renew(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const type = new URLSearchParams(request.raw.url?.split('?')[1]).get('type') ?? '';
    if (!PURPOSES.includes(type) || !this.keys.allowsRenewal(request.headers.authorization))
      throw new MarlineError('TOKEN_REFUSED', { asked: 'Authentication' });
    this.keys.renew(type as TokenPurpose);
    sendBody(reply, { status: 200, headers: [['content-type', 'application/json']] }, '\n');
  }

  /** The same, whatever stands behind it. */
  @Undocumented()
  @All('*')
  renewPath(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    this.renew(request, reply);
  }
}
