"""Every oddity of a stranger's image is either decoded as a person would see it, or refused with the right reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.worker.intake.pictures import BUDGET, bomb, corner, encode, gif, picture, png, webp_canvas
from worker.events import DeadLetterReason
from worker.intake.decode import DecodeLimits, Prepared, decode_image
from worker.intake.refusal import ImageRefusedError
from worker.reading.resize import PixelBudget, smart_resize

LIMITS = DecodeLimits(max_pixels=1_000_000, max_frames=50)
GREY = (120, 120, 120)


def decode(data: bytes, budget: PixelBudget = BUDGET) -> Prepared:
    return decode_image(data, LIMITS, budget)


def refusal(data: bytes) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as refused:
        decode(data)
    return refused.value


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"),
        ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "1"), ("PNG", "I;16"),
        ("WEBP", "RGB"), ("WEBP", "RGBA"),
        ("GIF", "P"), ("GIF", "RGBA"),
        ("BMP", "RGB"), ("BMP", "L"), ("BMP", "P"), ("BMP", "1"),
    ],
)  # fmt: skip
def test_every_kind_and_mode_becomes_rgb_on_the_grid(kind: str, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(picture(mode="L")).astype(np.uint16) * 257)
    else:
        image = picture(mode=mode)
    prepared = decode(encode(image, kind))
    assert prepared.pixels.dtype == np.uint8
    assert prepared.pixels.shape == (*smart_resize(84, 112, BUDGET), 3) == (84, 112, 3)
    assert (prepared.width, prepared.height, prepared.format) == (112, 84, kind)
    assert (prepared.animated, prepared.blank, prepared.tiny) == (False, False, False)
    assert corner(prepared.pixels) == "top left"


def test_the_pixels_of_a_lossless_image_on_the_grid_are_untouched() -> None:
    assert np.array_equal(decode(encode(picture(), "PNG")).pixels, np.asarray(picture()))


@pytest.mark.parametrize(("depth", "colour", "channels"), [(16, 0, 1), (16, 2, 3), (16, 4, 2), (16, 6, 4), (4, 0, 1)])
def test_sixteen_bits_are_scaled_and_not_clipped(depth: int, colour: int, channels: int) -> None:
    samples = 4 if depth == 4 else 8
    # Half of the range in every channel; opacity included, where there is one: half grey over white.
    row = b"\0" + (b"\x80\x00" * channels * 8 if depth == 16 else b"\x88" * samples)
    value = decode(png(8, 8, depth, colour, row * 8)).pixels.mean()
    assert value == pytest.approx(191 if colour in {4, 6} else 128 if depth == 16 else 136, abs=2)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_lies_on_white(mode: str) -> None:
    image = Image.new(mode, (56, 56), (*GREY, 0) if mode == "RGBA" else (GREY[0], 0))
    prepared = decode(encode(image, "PNG"))
    assert prepared.pixels.min() == 255
    assert prepared.blank


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_transparent_colour_lies_on_white(mode: str) -> None:
    image = Image.new("RGB", (56, 56), GREY)
    image = image.quantize(2) if mode == "P" else image.convert(mode)
    prepared = decode(encode(image, "PNG", transparency=image.getpixel((0, 0))))
    assert prepared.pixels.min() == 255


def test_cmyk_has_the_colours_a_person_sees() -> None:
    red = Image.new("CMYK", (56, 56), (0, 255, 255, 0))
    assert decode(encode(red, "JPEG", quality=95)).pixels.mean(axis=(0, 1)) == pytest.approx((254, 0, 0), abs=6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, "top left"), (2, "top right"), (3, "bottom right"), (4, "bottom left"),
        (5, "top left"), (6, "top right"), (7, "bottom right"), (8, "bottom left"),
        (0, "top left"), (9, "top left"),
    ],
)  # fmt: skip
def test_a_phone_photo_is_turned_upright(kind: str, orientation: int, expected: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    prepared = decode(encode(picture(112, 56), kind, exif=exif))
    assert corner(prepared.pixels) == expected
    upright = (112, 56) if orientation not in {5, 6, 7, 8} else (56, 112)
    assert (prepared.width, prepared.height) == upright
    assert prepared.pixels.shape[1::-1] == upright


def test_an_upright_and_a_turned_file_of_the_same_picture_have_the_same_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(picture(200, 90).transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    assert np.array_equal(decode(turned).pixels, decode(encode(picture(200, 90), "PNG")).pixels)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff"])
def test_broken_exif_does_not_spoil_an_image(exif: bytes) -> None:
    assert corner(decode(encode(picture(), "JPEG", exif=exif)).pixels) == "top left"


def test_a_large_jpeg_decoded_at_a_fraction_looks_like_the_whole() -> None:
    image = picture(800, 600).resize((1200, 900))
    fast, slow = (decode_image(encode(image, kind), DecodeLimits(), BUDGET) for kind in ("JPEG", "PNG"))
    assert fast.pixels.shape == slow.pixels.shape
    assert np.abs(fast.pixels.astype(int) - slow.pixels.astype(int)).mean() < 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read_and_flagged(kind: str) -> None:
    others = [Image.new("RGB", (112, 84), colour) for colour in ("red", "blue")]
    prepared = decode(encode(picture(), kind, save_all=True, append_images=others))
    assert prepared.animated
    assert corner(prepared.pixels) == "top left"


def test_a_jpeg_with_a_second_picture_inside_is_no_animation() -> None:
    prepared = decode(encode(picture(), "MPO", save_all=True, append_images=[Image.new("L", (20, 20))]))
    assert (prepared.format, prepared.animated) == ("JPEG", False)
    assert corner(prepared.pixels) == "top left"


def test_a_gif_of_one_frame_is_no_animation() -> None:
    assert not decode(gif(1)).animated
    assert decode(gif(2)).animated


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_one_colour_is_blank(kind: str) -> None:
    assert decode(encode(Image.new("RGB", (100, 100), (3, 90, 200)), kind)).blank


def test_a_faint_picture_is_not_blank() -> None:
    faint = np.full((84, 112, 3), 200, np.uint8)
    faint[:, :30] = 208
    assert not decode(encode(Image.fromarray(faint), "PNG")).blank


@pytest.mark.parametrize(("size", "tiny"), [((1, 1), True), ((7, 100), True), ((100, 7), True), ((8, 8), False)])
def test_a_side_of_a_few_pixels_is_tiny(size: tuple[int, int], tiny: bool) -> None:
    prepared = decode(encode(picture(*size), "PNG"))
    assert prepared.tiny is tiny
    assert (prepared.width, prepared.height) == size


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\x00\x00\x00\x1cftypheic" + bytes(99),
        b"\x00\x00\x00\x1cftypavif" + bytes(99), b"RIFF\0\0\0\0WAVEfmt ", b"<!doctype html><title>404</title>",
        b"II*\x00" + bytes(99), b"\x00\x00\x01\x00", b"P6 1 1 255 abc", b"8BPS" + bytes(99), b"%!PS-Adobe-3.0",
    ],
)  # fmt: skip
def test_another_format_is_unsupported(data: bytes) -> None:
    refused = refusal(data)
    assert refused.reason is DeadLetterReason.IMAGE_UNSUPPORTED
    assert "none of JPEG, PNG, WEBP, GIF, BMP" in refused.detail


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_a_truncated_file_is_undecodable(kind: str, part: float) -> None:
    whole = encode(picture(300, 300), kind)
    refused = refusal(whole[: max(12, int(len(whole) * part))])
    assert refused.reason is DeadLetterReason.IMAGE_UNDECODABLE
    assert refused.detail.startswith(f"broken {kind}: ")


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (bomb(1001), "1001 x 1001 pixels; at most 1,000,000"),
        (png(100_000, 100_000, 8, 2, b""), "100000 x 100000|decompression bomb"),
        (encode(Image.new("RGB", (402, 2)), "PNG"), "200 times the other"),
        (encode(Image.new("RGB", (2, 402)), "PNG"), "200 times the other"),
        (gif(51), "more than 50 frames"),
        (gif(1_000_000), "more than 50 frames"),
        (webp_canvas(4000), "4000 x 4000"),
    ],
    ids=["pixels", "header", "wide", "tall", "frames", "very many frames", "canvas"],
)
def test_what_is_too_much_is_refused_by_its_header(data: bytes, detail: str) -> None:
    refused = refusal(data)
    assert refused.reason is DeadLetterReason.IMAGE_LIMITS
    assert any(part in refused.detail for part in detail.split("|"))


def test_a_narrow_image_that_would_not_fit_the_models_own_limit_is_refused() -> None:
    # 200 times is allowed, but rounding down to the grid would make it 392 times, which Qwen's processor refuses.
    data = encode(picture(8000, 40), "PNG")
    with pytest.raises(ImageRefusedError, match="too narrow for the model's grid"):
        decode_image(data, DecodeLimits(), PixelBudget())


def test_a_text_bomb_in_a_png_is_undecodable() -> None:
    import struct
    import zlib

    text = b"a\0\0" + zlib.compress(bytes(80_000_000), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    assert refusal(png(8, 8, 8, 0, bytes(72), chunk)).reason is DeadLetterReason.IMAGE_UNDECODABLE


SAMPLES = [encode(picture(60, 40), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")] + [
    encode(picture(60, 40), "JPEG", progressive=True),
    encode(picture(60, 40), "GIF", save_all=True, append_images=[picture(60, 40, "L")]),
    encode(picture(60, 40, "CMYK"), "JPEG"),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file with some of its bytes changed, cut out or repeated."""
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0 | 1:
                data[at] = draw(st.integers(0, 255))
            case 2:
                del data[at : at + draw(st.integers(1, 20))]
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 20))]
        if not data:
            break
    return bytes(data)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(damaged(), st.binary(max_size=200)))
def test_no_bytes_end_in_anything_but_pixels_or_a_refusal(data: bytes) -> None:
    try:
        prepared = decode(data)
    except ImageRefusedError:
        return
    assert prepared.pixels.shape[0] % BUDGET.factor == prepared.pixels.shape[1] % BUDGET.factor == 0
