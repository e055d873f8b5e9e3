import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { HealthController } from './health.controller.js';
import { MarlineHealthIndicator } from './health.indicator.js';

/** Native health routes. The registry logs what fails, once; a line per probe would only repeat it. */
@Module({
  imports: [TerminusModule.forRoot({ logger: false })],
  controllers: [HealthController],
  providers: [MarlineHealthIndicator],
  exports: [MarlineHealthIndicator],
})
export class HealthModule {}
