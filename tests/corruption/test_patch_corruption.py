import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.corruption import (
    TEXTURES,
    PatchCorruption,
    _patch_corruption,
    _textures,
    multiscale_noise,
    soft_patches,
)
from skanomaly.corruption._rows import ROW_TEXTURES, block_masks, replacement_rows
from skanomaly.corruption._shapes import enlarge


def random_images(shape, seed=0):
    return np.random.default_rng(seed).random(shape)


@pytest.mark.parametrize("shape", [(6, 24, 32), (6, 24, 32, 3), (6, 24, 32, 1), (6, 10), (3, 1, 1)])
def test_nothing_changes_outside_the_mask_and_the_range_is_kept(shape):
    images = random_images(shape)
    corrupted, masks = PatchCorruption(random_state=0)(images)
    assert corrupted.shape == images.shape and corrupted.dtype == images.dtype
    assert masks.shape == (shape[:3] if len(shape) == 4 else shape)
    assert masks.dtype == np.float32 and masks.min() >= 0 and masks.max() <= 1
    untouched = masks == 0
    np.testing.assert_array_equal(corrupted[untouched], images[untouched])
    assert corrupted.min() >= images.min() - 1e-6 and corrupted.max() <= images.max() + 1e-6
    assert (corrupted != images).any() or shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("texture", "shape"),
    [
        *((texture, (8, 32, 32, 3)) for texture in TEXTURES),
        *((texture, (8, 40)) for texture in TEXTURES if texture != "blur"),
    ],
)
def test_every_texture_changes_the_images(texture, shape):
    images = random_images(shape)
    corrupted, masks = PatchCorruption(texture=texture, radius=0.2, opacity=1.0, random_state=0)(
        images
    )
    changed = corrupted != images
    changed = changed.any(-1) if len(shape) == 4 else changed
    assert changed.mean() > 0.5 * (masks > 0).mean() > 0


def test_blur_takes_contrast_away_and_rows_of_features_have_none():
    images = random_images((8, 32, 32, 3))
    options = dict(texture="blur", radius=0.4, softness=0.05, opacity=1.0, random_state=0)
    corrupted, masks = PatchCorruption(**options)(images)
    inside = masks > 0.99
    assert corrupted[inside].std() < 0.7 * images[inside].std()
    assert corrupted[inside].mean() == pytest.approx(images[inside].mean(), abs=0.02)
    with pytest.raises(
        ValueError, match="texture must name one of .* for vectors, got 'blur' instead"
    ):
        PatchCorruption(**options)(random_images((8, 40)))


def test_the_same_seed_draws_the_same_and_another_seed_does_not():
    images = random_images((4, 32, 32))
    first = PatchCorruption(random_state=3)
    again, masks = first(images)
    np.testing.assert_array_equal(again, first(images)[0])
    np.testing.assert_array_equal(masks, clone(first)(images)[1])
    assert (masks != PatchCorruption(random_state=4)(images)[1]).any()


def test_a_random_state_instance_goes_on():
    images = random_images((4, 32, 32))
    corruption = PatchCorruption(random_state=np.random.RandomState(0))
    assert (corruption(images)[1] != corruption(images)[1]).any()


def test_integers_stay_integers():
    images = (random_images((4, 32, 32, 3)) * 255).astype(np.uint8)
    corrupted, masks = PatchCorruption(random_state=0)(images)
    assert corrupted.dtype == np.uint8
    np.testing.assert_array_equal(corrupted[masks == 0], images[masks == 0])


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint16, bool])
def test_values_stay_within_the_range_to_the_last_digit(dtype):
    images = (random_images((8, 16, 16)) * 2**26).astype(np.int64) % 60001
    images = images.astype(bool) if dtype is bool else (images / 3).astype(dtype)
    options = dict(texture=["color", "shade"], opacity=1.0, softness=0, random_state=0)
    corrupted, _ = PatchCorruption(**options)(images)
    assert corrupted.dtype == images.dtype
    assert corrupted.min() >= images.min() and corrupted.max() <= images.max()


def test_a_faint_change_of_a_boolean_image_is_no_change():
    images = np.zeros((8, 16, 16), dtype=bool)
    images[:, 0, 0] = True
    options = dict(texture="color", opacity=0.3, random_state=0)
    assert not PatchCorruption(**options)(images)[0][:, 8:].any()


def test_only_drawn_textures_are_resized(monkeypatch):
    """A large collection must not be resized in each step of a training."""
    sizes = []
    interpolate = torch.nn.functional.interpolate

    def counting(tensor, **options):
        sizes.append(len(tensor))
        return interpolate(tensor, **options)

    monkeypatch.setattr(torch.nn.functional, "interpolate", counting)
    textures = random_images((500, 8, 8))
    PatchCorruption(n_patches=2, texture_images=textures)(random_images((4, 16, 16)))
    assert max(sizes) <= 8


def test_radius_and_opacity_and_number_are_obeyed():
    images = random_images((64, 64, 64))
    areas = {}
    for radius in (0.05, 0.2):
        _, masks = PatchCorruption(
            n_patches=1, radius=radius, elongation=1, distortion=0, softness=0, random_state=0
        )(images)
        inner = (masks > 0).sum((1, 2))
        areas[radius] = inner.max()
        # A disc of that radius, to the pixel's rounding.
        assert abs(inner.max() - np.pi * (radius * 64) ** 2) < 8 * np.pi * radius * 64
    assert areas[0.2] > 10 * areas[0.05]
    _, faint = PatchCorruption(opacity=0.25, n_patches=1, random_state=0)(images)
    assert faint.max() == pytest.approx(0.25)
    _, many = PatchCorruption(n_patches=6, radius=0.05, random_state=0)(images)
    _, one = PatchCorruption(n_patches=1, radius=0.05, random_state=0)(images)
    assert (many > 0).mean() > 3 * (one > 0).mean()


@pytest.mark.parametrize("texture", TEXTURES)
def test_mixed_precision_moves_no_pixel(texture):
    images = torch.rand(4, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    corruption = PatchCorruption(texture=texture)

    def corrupt():
        return corruption.corrupt(images, torch.Generator().manual_seed(0))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = corrupt()
    for given, wanted in zip(mixed, corrupt(), strict=True):
        torch.testing.assert_close(given, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sizes", [(3, 9, 40, 31), (9, 2, 1, 17), (17, 33, 64, 128)])
def test_fields_are_linear_between_their_nodes(sizes):
    rows, columns, height, width = sizes
    coarse = torch.randn(3, 2, rows, columns, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.interpolate(
        coarse, size=(height, width), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(enlarge(coarse, height, width), wanted, rtol=0, atol=1e-5)


def test_elongation_makes_long_thin_patches_of_the_same_area():
    generator = torch.Generator().manual_seed(0)
    options = dict(radius=(0.1, 0.1), distortion=(0, 0), softness=(0, 0), generator=generator)
    discs, _ = soft_patches(200, 96, 96, elongation=(1, 1), **options)
    threads, _ = soft_patches(200, 96, 96, elongation=(9, 9), **options)

    def longest_axis(masks):
        rows, columns = np.nonzero(masks.numpy()[0] > 0)
        return np.sqrt(np.linalg.eigvalsh(np.cov(rows, columns)).max())

    inside = [longest_axis(m) for m in threads if m.sum() > 200]
    assert np.median(inside) > 2 * np.median([longest_axis(m) for m in discs if m.sum() > 200])
    assert float(threads.sum((1, 2, 3)).amax()) == pytest.approx(np.pi * 9.6**2, rel=0.15)


def test_a_shade_is_one_brightness_and_a_color_is_one_color():
    images = random_images((8, 32, 32)) * 0.2 + 0.4
    images[0, 0, 0], images[1, 0, 0] = 0.0, 1.0
    options = dict(n_patches=1, softness=0, opacity=1.0, radius=0.2, random_state=1)
    shaded, masks = PatchCorruption(texture="shade", **options)(images)
    colored, color_masks = PatchCorruption(texture="color", **options)(images)
    for i in range(8):
        step = (shaded - images)[i][(masks[i] == 1) & (shaded[i] > 0) & (shaded[i] < 1)]
        assert len(step) == 0 or np.ptp(step) < 1e-6
        assert np.ptp(colored[i][color_masks[i] == 1]) < 1e-6


def test_texture_images_are_used():
    images = np.zeros((40, 32, 32, 3))
    images[:, 0, 0] = 1.0
    stripes = np.zeros((2, 20, 20))
    stripes[:, ::2] = 1.0
    options = dict(texture="deformation", n_patches=1, opacity=1.0, radius=0.3, random_state=0)
    plain, _ = PatchCorruption(**options)(images)
    striped, masks = PatchCorruption(texture_images=stripes, **options)(images)
    assert plain[:, 4:, 4:].max() < 0.1
    core = (masks > 0.99)[:, 4:, 4:]
    filled = [striped[i, 4:, 4:][core[i]].mean() > 0.2 for i in range(40) if core[i].any()]
    # One source of two.
    assert 0.25 < np.mean(filled) < 0.75


def test_weights_of_textures_are_obeyed():
    images = random_images((200, 16, 16))
    only = PatchCorruption(texture="color", n_patches=1, softness=0, opacity=1, random_state=0)
    weighted = clone(only).set_params(texture={"color": 1.0, "noise": 0.0})
    np.testing.assert_array_equal(only(images)[0], weighted(images)[0])


def test_rows_are_corrupted_in_blocks_that_leave_something():
    rows = random_images((200, 20))
    _, masks = PatchCorruption(n_patches=1, radius=(0.05, 0.5), random_state=0)(rows)
    lengths = (masks > 0).sum(1)
    assert lengths.min() >= 1 and lengths.max() == 19
    starts = ((masks > 0) & ~np.roll(masks > 0, 1, axis=1)).sum(1)
    assert (starts == 1).all()
    single, single_masks = PatchCorruption(random_state=0)(random_images((50, 1)))
    assert single.shape == (50, 1) and (single_masks > 0).all()


def test_the_batch_stays_on_its_device_and_the_generator_decides():
    images = torch.rand(4, 3, 16, 16)
    first = PatchCorruption(random_state=0).corrupt(images, torch.Generator().manual_seed(1))
    again = PatchCorruption(random_state=5).corrupt(images, torch.Generator().manual_seed(1))
    assert first[0].device == images.device and first[1].shape == (4, 1, 16, 16)
    torch.testing.assert_close(first, again, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 2, 16, 16), (4, 12)])
def test_a_batch_of_any_floating_dtype_keeps_it(dtype, shape):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)
    corruption = PatchCorruption()
    corrupted, masks = corruption.corrupt(images, torch.Generator().manual_seed(0))
    wanted, same_masks = corruption.corrupt(images.float(), torch.Generator().manual_seed(0))
    assert corrupted.dtype == dtype and masks.dtype == torch.float32
    assert torch.equal(masks, same_masks)
    untouched = (masks == 0).expand_as(images)
    assert torch.equal(corrupted[untouched], images[untouched])
    torch.testing.assert_close(corrupted, wanted.to(dtype))


def test_a_single_pixel_is_shaded_without_nan():
    images = torch.full((1, 3, 1, 1), 0.5)
    corruption = PatchCorruption(texture="shade")
    corrupted, _ = corruption.corrupt(images, torch.Generator().manual_seed(0))
    assert torch.equal(corrupted, images)


def test_multiscale_noise_has_its_documented_deviation_and_is_smooth():
    noise = multiscale_noise(200, 32, 32, torch.Generator().manual_seed(0))
    assert noise.shape == (200, 1, 32, 32)
    assert 0.65 < float(noise.std()) < 0.9
    neighbours = ((noise[..., 1:] - noise[..., :-1]) ** 2).mean()
    distant = ((noise[..., 16:] - noise[..., :16]) ** 2).mean()
    assert neighbours < 0.75 * distant


DRAWN = {
    None: (6920.2936, 89.3875),
    "image": (6914.4329, 100.463),
    "color": (6921.7298, 100.463),
    "noise": (6928.4771, 100.463),
    "deformation": (6914.4062, 100.463),
    "shade": (6899.0921, 100.463),
    "blur": (6918.6419, 100.463),
}
OUT_OF_RANGE = [
    ("radius", 0.0),
    ("radius", (0.3, 0.1)),
    ("radius", "large"),
    ("radius", (0.1, 0.2, 0.3)),
    ("radius", (0.1, np.nan)),
    ("elongation", 0.5),
    ("softness", 1.5),
    ("distortion", -1),
    ("opacity", (0.5, 2.0)),
    ("n_patches", 0),
    ("n_patches", 1.5),
    ("n_patches", True),
    ("focus", -0.1),
    ("focus", np.inf),
    ("focus", True),
    ("focus", "part"),
    ("texture", "velvet"),
    ("texture", []),
    ("texture", {"image": -1.0}),
    ("texture", {"image": 0.0}),
    ("texture_images", np.zeros((4, 4))),
    ("texture_images", np.zeros((0, 4, 4))),
    ("texture_images", np.full((2, 4, 4), "red")),
    ("texture_images", np.full((2, 4, 4), np.nan)),
    ("texture", 5),
    ("texture", {"image": "much"}),
    ("texture", [["image"]]),
]


@pytest.mark.parametrize(("parameter", "value"), OUT_OF_RANGE)
def test_parameters_out_of_range_are_named(parameter, value):
    with pytest.raises(ValueError, match=parameter):
        PatchCorruption(**{parameter: value})(random_images((2, 8, 8)))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *OUT_OF_RANGE,
        ("opacity", 5),
        ("random_state", "today"),
    ],
)
def test_a_detector_checks_all_parameters_before_it_trains(parameter, value, monkeypatch):
    corruption = PatchCorruption(**{parameter: value})
    with pytest.raises(ValueError, match=parameter if parameter != "random_state" else "today"):
        corruption.check_parameters()
    monkeypatch.setattr(PatchCorruption, "corrupt", lambda *args: pytest.fail("It trains."))
    detector = SelfSupervisedAutoencoderDetector(corruption=corruption, max_iter=1)
    with pytest.raises(ValueError, match=parameter if parameter != "random_state" else "today"):
        detector.fit(random_images((20, 16, 16)))
    assert not hasattr(detector, "network_")


def test_rows_have_no_blur(monkeypatch):
    corruption = PatchCorruption(texture="blur")
    corruption.check_parameters()
    with pytest.raises(ValueError, match="for vectors, got 'blur' instead"):
        corruption.check_parameters(rows=True)
    monkeypatch.setattr(PatchCorruption, "corrupt", lambda *args: pytest.fail("It trains."))
    with pytest.raises(ValueError, match="for vectors, got 'blur' instead"):
        SelfSupervisedAutoencoderDetector(corruption=corruption).fit(random_images((30, 6)))


def test_a_corruption_of_ones_own_needs_no_check():
    class Inverted(BaseEstimator):
        def corrupt(self, images, generator):
            return -images, torch.ones(len(images), 1, *images.shape[2:])

    detector = SelfSupervisedAutoencoderDetector(corruption=Inverted(), max_iter=1)
    assert detector.fit(random_images((20, 16, 16))).n_iter_ == 1


@pytest.mark.parametrize("texture", [None, *TEXTURES])
def test_the_draws_of_a_seed_stay_what_they_were(texture):
    """Sums of what version 0.2 draws; with all textures at once, for texture images too."""
    images = random_images((6, 24, 32, 3)).astype(np.float32)
    supplied = random_images((4, 10, 10), seed=1) if texture is None else None
    corruption = PatchCorruption(
        texture=TEXTURES if texture is None else texture, texture_images=supplied, random_state=0
    )
    corrupted, masks = corruption(images)
    drawn = (float(corrupted.astype(np.float64).sum()), float(masks.astype(np.float64).sum()))
    assert drawn == pytest.approx(DRAWN[texture], rel=1e-5)


def test_a_texture_is_one_function_and_one_line(monkeypatch):
    monkeypatch.setitem(_textures._FUNCTIONS, "black", lambda patches, _: 0 * patches.content)
    monkeypatch.setattr(_textures, "TEXTURES", (*TEXTURES, "black"))
    monkeypatch.setattr(_patch_corruption, "TEXTURES", (*TEXTURES, "black"))
    images = random_images((4, 24, 24)) + 1
    images[:, 0, 0] = 0
    options = dict(radius=0.3, softness=0, opacity=1.0, random_state=0)
    corrupted, masks = PatchCorruption(texture="black", **options)(images)
    assert (corrupted[masks == 1] == 0).all() and (masks == 1).any()


@pytest.mark.parametrize(
    "images",
    [np.zeros(5), np.zeros((1, 2, 3, 4, 5)), np.zeros((0, 4, 4)), np.full((2, 4, 4), np.nan)],
)
def test_bad_arrays_are_refused(images):
    with pytest.raises(ValueError, match="X must"):
        PatchCorruption()(images)


def test_the_length_of_blocks_of_features_is_log_uniform():
    generator = torch.Generator().manual_seed(0)
    masks = block_masks(2000, 1000, radius=(0.005, 0.45), generator=generator)
    # Half of the lengths, from 10 to 900, are below the geometric mean.
    assert float(masks.sum(1).double().median()) == pytest.approx(94.9, rel=0.15)


def test_blocks_of_features_are_shaded_up_and_down():
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(50, 12, generator=generator) * torch.logspace(-2, 2, 12)
    low, high = rows.amin(0), rows.amax(0)
    owner = torch.arange(50).repeat(40)
    kind = torch.full_like(owner, ROW_TEXTURES.index("shade"))
    shades = replacement_rows(rows, owner, kind, generator=generator)
    shifts = (shades - rows[owner]) / (high - low)
    assert float(shifts.abs().max()) <= 0.5 + 1e-4
    assert float(shifts.median()) == pytest.approx(0, abs=0.05)
