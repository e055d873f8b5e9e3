import {
  Body,
  Controller,
  Get,
  Header,
  HttpCode,
  Module,
  NotFoundException,
  Param,
  Post,
  Query,
  Req,
} from '@nestjs/common';
import { AccountsModule, Public, type AccountRequest } from './accounts.js';

interface Item {
  readonly id: number;
  readonly name: string;
}

const ITEMS: readonly Item[] = [
  { id: 1, name: 'lamp' },
  { id: 2, name: 'chair' },
];

/** What the gateway did before it served models. */
@Controller()
export class ShopController {
  @Get('hello')
  @Public()
  hello(): { hello: string } {
    return { hello: 'world' };
  }

  @Get('items/:id')
  @Header('cache-control', 'max-age=60')
  item(@Param('id') id: string): Item {
    const item = ITEMS.find((item) => item.id === Number(id));
    if (item === undefined) throw new NotFoundException(`There is no item ${id}.`);
    return item;
  }

  @Get('models')
  models(@Query('brand') brand?: string): { models: string[] } {
    return { models: [`${brand ?? 'any'} lamp, model 3`] };
  }

  @Post('items')
  create(@Body() item: unknown): { received: unknown; type: string } {
    return { received: item, type: item === null ? 'null' : typeof item };
  }

  /** Rows of CSV, read by the gateway's own content type parser. */
  @Post('items/import')
  @HttpCode(200)
  import(@Body() rows: string[][]): { rows: string[][] } {
    return { rows };
  }

  @Get('whoami')
  whoami(@Req() request: AccountRequest): { name?: string } {
    return { name: request.account?.name };
  }

  @Get('broken')
  broken(): never {
    throw new TypeError('a detail that nobody outside may see');
  }
}

@Module({ imports: [AccountsModule], controllers: [ShopController] })
export class ShopModule {}
