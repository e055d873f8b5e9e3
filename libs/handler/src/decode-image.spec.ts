import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { pngHeader } from '../../../test/handler/png.js';
import { decodeImage } from './decode-image.js';

const photo = (name: string) =>
  readFileSync(new URL(`../../../test/fixtures/images/${name}`, import.meta.url));
const decode = (bytes: Uint8Array, options = {}, maxPixels = 1_000_000) =>
  decodeImage(bytes, options, maxPixels);
const plain = (background: string) => sharp({ create: { width: 3, height: 2, channels: 3, background } });
const raw = (data: Uint8Array | Uint16Array, channels: 1 | 2 | 3 | 4) =>
  sharp(data, { raw: { width: 2, height: 1, channels } });

describe('decodeImage', () => {
  it('decodes a photo in its own size', async () => {
    const { data, ...size } = await decode(photo('coffee.jpg'));
    expect(size).toEqual({ width: 600, height: 400, channels: 3 });
    expect(data.length).toBe(600 * 400 * 3);
  });

  it('scales the shorter side and cuts the centre', async () => {
    expect(await decode(photo('chelsea.jpg'), { shorterSide: 256 })).toMatchObject({
      width: 384,
      height: 256,
    });
    expect(await decode(photo('chelsea.jpg'), { shorterSide: 256, centreCrop: 224 })).toMatchObject({
      width: 224,
      height: 224,
      channels: 3,
    });
  });

  it('places the square as torchvision does', async () => {
    const columns = (width: number) =>
      sharp(
        Uint8Array.from({ length: width * 2 }, (_, i) => i % width),
        { raw: { width, height: 2, channels: 1 } },
      )
        .png()
        .toBuffer();
    // round(1 / 2) is 0 and round(3 / 2) is 2 in Python.
    expect((await decode(await columns(3), { colour: 'grey', centreCrop: 2 })).data).toEqual(
      new Uint8Array([0, 1, 0, 1]),
    );
    expect((await decode(await columns(5), { colour: 'grey', centreCrop: 2 })).data).toEqual(
      new Uint8Array([2, 3, 2, 3]),
    );
  });

  it('frames an image in black that is smaller than its crop', async () => {
    const white = await sharp({ create: { width: 1, height: 3, channels: 3, background: '#fff' } })
      .png()
      .toBuffer();
    expect([...(await decode(white, { colour: 'grey', centreCrop: 3 })).data]).toEqual([
      0, 255, 0, 0, 255, 0, 0, 255, 0,
    ]);
  });

  it('turns a photo as its EXIF data say', async () => {
    const turned = await sharp({ create: { width: 4, height: 2, channels: 3, background: '#c08040' } })
      .jpeg()
      .withMetadata({ orientation: 6 })
      .toBuffer();
    expect(await decode(turned)).toMatchObject({ width: 2, height: 4 });
    expect(await decode(turned, { shorterSide: 4 })).toMatchObject({ width: 4, height: 8 });
  });

  it.each<[string, () => Promise<Buffer>, number[]]>([
    [
      'grey',
      () =>
        raw(new Uint8Array([7, 200]), 1)
          .toColourspace('b-w')
          .png()
          .toBuffer(),
      [7, 7, 7, 200, 200, 200],
    ],
    [
      '16-bit grey',
      () =>
        raw(new Uint16Array([2560, 65535]), 1)
          .toColourspace('grey16')
          .png()
          .toBuffer(),
      [10, 10, 10, 255, 255, 255],
    ],
    [
      '16-bit colour',
      () =>
        raw(new Uint16Array([25700, 0, 65535, 0, 0, 0]), 3)
          .toColourspace('rgb16')
          .png()
          .toBuffer(),
      [100, 0, 255, 0, 0, 0],
    ],
    [
      'grey with alpha',
      () =>
        raw(new Uint8Array([100, 255, 100, 0]), 2)
          .toColourspace('b-w')
          .png()
          .toBuffer(),
      [100, 100, 100, 0, 0, 0],
    ],
    [
      'colour with alpha',
      () =>
        raw(new Uint8Array([200, 100, 50, 255, 200, 100, 50, 0]), 4)
          .png()
          .toBuffer(),
      [200, 100, 50, 0, 0, 0],
    ],
    ['palette', () => plain('#c08040').png({ palette: true }).toBuffer(), [192, 128, 64]],
    ['WebP', () => plain('#c08040').webp({ lossless: true }).toBuffer(), [192, 128, 64]],
    ['GIF', () => plain('#c08040').gif().toBuffer(), [192, 128, 64]],
    ['TIFF', () => plain('#c08040').tiff({ compression: 'lzw' }).toBuffer(), [192, 128, 64]],
  ])('gives three channels of 8 bits for %s', async (_what, make, pixels) => {
    const { data, channels } = await decode(await make());
    expect(channels).toBe(3);
    expect([...data.subarray(0, pixels.length)]).toEqual(pixels);
  });

  it('decodes CMYK', async () => {
    const { data, channels } = await decode(
      await plain('#c08040').toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer(),
    );
    expect(channels).toBe(3);
    for (const [i, value] of [192, 128, 64].entries())
      expect(Math.abs((data[i] ?? 0) - value)).toBeLessThan(30);
  });

  it('gives grey as Pillow does, and grey pixels unchanged', async () => {
    const pixels = await raw(new Uint8Array([200, 100, 50, 9, 9, 9]), 3)
      .png()
      .toBuffer();
    expect([...(await decode(pixels, { colour: 'grey' })).data]).toEqual([124, 9]);
    const digit = await decode(photo('digit_3.png'), { colour: 'grey', shorterSide: 28, centreCrop: 28 });
    expect(digit).toMatchObject({ width: 28, height: 28, channels: 1 });
    const { data, info } = await sharp(photo('digit_3.png')).raw().toBuffer({ resolveWithObject: true });
    expect(
      Buffer.compare(
        digit.data,
        data.filter((_, i) => i % info.channels === 0),
      ),
    ).toBe(0);
  });

  it('refuses a small file that holds a gigantic image, with its size', async () => {
    await expect(decode(pngHeader(60_000, 60_000))).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: 'The image has 60000 × 60000 pixels; at most 1000000 in all are allowed.',
    });
  });

  it('refuses to scale a line of pixels up to a gigantic image', async () => {
    const line = await sharp({ create: { width: 1, height: 5000, channels: 3, background: '#fff' } })
      .png()
      .toBuffer();
    await expect(decode(line, { shorterSide: 256, centreCrop: 224 })).rejects.toThrow(
      'Scaled, the image would have 256 × 1280000 pixels',
    );
  });

  it.each<[string, Uint8Array]>([
    ['text', Buffer.from('not an image')],
    ['nothing', new Uint8Array()],
    ['SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')],
  ])('refuses %s', async (_what, bytes) => {
    await expect(decode(bytes)).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: 'The data is no JPEG, PNG, WebP, GIF or TIFF image.',
    });
  });

  it.each<[string, Uint8Array]>([
    ['cut short', photo('coffee.jpg').subarray(0, 5000)],
    ['only a beginning', photo('coffee.jpg').subarray(0, 4)],
    ['without pixels', pngHeader(8, 8)],
  ])('refuses a file that is %s', async (_what, bytes) => {
    await expect(decode(bytes)).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: 'The image is damaged and cannot be decoded.',
    });
  });
});
