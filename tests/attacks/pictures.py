"""Image files that mean harm or are broken: one function each, and what the refusal says."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

FILES = {}  # name -> (function that makes the bytes of one file, what the refusal says)


def file(reason):
    def listed(function):
        FILES[function.__name__] = (function, reason)
        return function

    return listed


def picture(n=0, size=8, mode="RGB"):
    """Return noise, as a photo of ``mode``."""
    noise = np.random.default_rng(n).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def saved(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@file("no bytes")
def of_nothing():
    return b""


@file("truncated")
def half_a_jpeg():
    content = saved(picture(size=64), "JPEG")
    return content[: len(content) // 2]


@file("Error")
def half_a_png():
    content = saved(picture(size=64))
    return content[: len(content) // 2]


@file("none of these formats")
def a_drawing():
    return b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'


@file("none of these formats")
def postscript():
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/etc/passwd) run\n%%EOF\n"


@file("none of these formats")
def a_pdf():
    return b"%PDF-1.4\n1 0 obj << /Type /Catalog >> endobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"


@file("none of these formats")
def fits():
    cards = ("SIMPLE  =                    T", "BITPIX  =                    8", "END")
    return b"".join(card.encode().ljust(80) for card in cards).ljust(2880) + bytes(64)


@file("none of these formats")
def jpeg_2000():
    return b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + bytes(64)


@file("not 8 bits")
def sixteen_bits():
    return saved(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)))


@file("not 8 bits")
def floating_point():
    return saved(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF")


@file("an animation")
def an_animation():
    return saved(picture(0), "GIF", save_all=True, append_images=[picture(1)])


@file("an animation")
def a_hundred_thousand_frames():
    content = saved(picture(0).convert("P"), "GIF")
    frames = content.index(b"\x2c")  # where the one frame starts; it ends before the trailer
    return content[:frames] + content[frames:-1] * 100_000 + b";"


@file("several pages")
def several_pages():
    return saved(picture(0), "TIFF", save_all=True, append_images=[picture(1)])


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


def png(width, height, *chunks):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * min(height, 64)))
    body = [_chunk(b"IHDR", header), *chunks, _chunk(b"IDAT", rows), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@file("more than|DecompressionBomb")
def a_bomb_of_pixels():
    return png(60_000, 60_000)


@file("9000 x 9000 pixels, more than")
def a_small_bomb_of_pixels():
    return png(9000, 9000)


@file("too large")
def a_bomb_of_text():
    return png(8, 8, _chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(300_000_000), 1)))


@file("more than|DecompressionBomb|Error")
def a_bomb_of_webp():
    size = struct.pack("<I", 16382)[:3]  # minus one: 16,383 pixels
    extended = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size + size
    frame = saved(picture(), "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(extended) + len(frame)) + b"WEBP" + extended + frame
