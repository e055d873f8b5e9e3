import type { Sharp } from 'sharp';
import { MarlineError } from '#libs/common';
import type { DecodedImage, DecodeImageOptions } from './context.js';

/** The first bytes of the formats that are decoded. Others never reach libvips, which would also open SVG or PDF. */
const SIGNATURES: readonly (readonly (number | null)[])[] = [
  [0xff, 0xd8, 0xff],
  [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a],
  [0x47, 0x49, 0x46, 0x38],
  [0x52, 0x49, 0x46, 0x46, null, null, null, null, 0x57, 0x45, 0x42, 0x50],
  [0x49, 0x49, 0x2a, 0x00],
  [0x4d, 0x4d, 0x00, 0x2a],
];

interface Size {
  readonly width: number;
  readonly height: number;
}

/**
 * Decodes an image on libvips' own threads. The first frame or page only; colour profiles are ignored, as the tools that
 * models are trained with do.
 * @param maxPixels refused above, before anything is decoded; 0 or infinity is no limit
 * @throws MarlineError `INVALID_INPUT`
 */
export async function decodeImage(
  bytes: Uint8Array,
  options: DecodeImageOptions,
  maxPixels: number,
): Promise<DecodedImage> {
  if (!SIGNATURES.some((signature) => signature.every((byte, i) => byte === null || bytes[i] === byte))) {
    throw new MarlineError('INVALID_INPUT', { reason: 'The data is no JPEG, PNG, WebP, GIF or TIFF image.' });
  }
  try {
    return await decode(bytes, options, Number.isFinite(maxPixels) ? maxPixels : 0);
  } catch (error) {
    if (error instanceof MarlineError) throw error;
    throw new MarlineError(
      'INVALID_INPUT',
      { reason: 'The image is damaged and cannot be decoded.' },
      { cause: error },
    );
  }
}

async function decode(
  bytes: Uint8Array,
  options: DecodeImageOptions,
  maxPixels: number,
): Promise<DecodedImage> {
  // Loaded by the first image only: it costs a worker 40 ms and its share of libvips.
  const { default: sharp } = await import('sharp');
  const header = await sharp(bytes, { limitInputPixels: false }).metadata();
  refuseAbove(maxPixels, header, 'The image has');
  const size = scaledSize(header.autoOrient, options.shorterSide);
  // A line of 1 × 60,000 pixels is small, but not once its shorter side is scaled to 256.
  refuseAbove(maxPixels, size, 'Scaled, the image would have');
  const scaled = sharp(bytes, {
    limitInputPixels: maxPixels,
    autoOrient: true,
    ignoreIcc: true,
    failOn: 'error',
  })
    // Shrinking while a JPEG is loaded is faster but shifts pixels, and with them probabilities.
    .resize({ ...size, fit: 'fill', kernel: 'linear', fastShrinkOnLoad: false });
  const crop = options.centreCrop;
  const image = crop === undefined ? scaled : cutSquare(scaled, size, crop);
  const data = await image.flatten({ background: '#000' }).toColourspace('srgb').raw().toBuffer();
  // Not the size that sharp reports, which leaves the frame out.
  const { width, height } = crop === undefined ? size : { width: crop, height: crop };
  return options.colour === 'grey'
    ? { data: toGrey(data), width, height, channels: 1 }
    : { data, width, height, channels: 3 };
}

function cutSquare(image: Sharp, { width, height }: Size, side: number): Sharp {
  const [cutWidth, cutHeight] = [Math.min(width, side), Math.min(height, side)];
  const [left, top] = [halfEven(width - cutWidth), halfEven(height - cutHeight)];
  const [frameX, frameY] = [side - cutWidth, side - cutHeight];
  return image.extract({ left, top, width: cutWidth, height: cutHeight }).extend({
    left: Math.floor(frameX / 2),
    right: Math.ceil(frameX / 2),
    top: Math.floor(frameY / 2),
    bottom: Math.ceil(frameY / 2),
    background: '#000',
  });
}

function refuseAbove(maxPixels: number, { width, height }: Size, subject: string): void {
  if (maxPixels === 0 || width * height <= maxPixels) return;
  const reason = `${subject} ${width} × ${height} pixels; at most ${maxPixels} in all are allowed.`;
  throw new MarlineError('INVALID_INPUT', { reason });
}

/** The size after scaling, as torchvision's Resize has it: the longer side is cut to whole pixels, not rounded. */
function scaledSize(size: Size, shorterSide?: number): Size {
  if (shorterSide === undefined) return size;
  const { width, height } = size;
  const longer = Math.max(1, Math.floor((shorterSide * Math.max(width, height)) / Math.min(width, height)));
  return width <= height ? { width: shorterSide, height: longer } : { width: longer, height: shorterSide };
}

/** Half of a margin, rounded as Python's `round` does, because torchvision's CenterCrop places its square with it. */
function halfEven(margin: number): number {
  const half = Math.floor(margin / 2);
  return margin % 2 === 0 || half % 2 === 0 ? half : half + 1;
}

/** Luma in the integer form of ITU-R BT.601 that Pillow's mode L has; grey pixels keep their value. */
function toGrey(pixels: Uint8Array): Uint8Array {
  const grey = new Uint8Array(pixels.length / 3);
  for (let pixel = 0, at = 0; pixel < grey.length; pixel++, at += 3) {
    const [red, green, blue] = [pixels[at] ?? 0, pixels[at + 1] ?? 0, pixels[at + 2] ?? 0];
    grey[pixel] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return grey;
}
