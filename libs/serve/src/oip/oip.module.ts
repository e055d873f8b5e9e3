import { Module } from '@nestjs/common';
import { OipController } from './oip.controller.js';

/** The open inference protocol (v2) over HTTP, as KServe and Triton speak it. */
@Module({ controllers: [OipController] })
export class OipModule {}
