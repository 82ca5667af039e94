import pytest
import torch

from skanomaly.scoring import Surroundings, smooth

EARLIER = {"ceiling": 2.0, "weight": 0.3, "exponent": 0.5}


@pytest.fixture
def normal():
    """Maps relative to normal images."""
    generator = torch.Generator().manual_seed(0)
    return 0.5 + torch.rand(20, 64, 64, generator=generator, dtype=torch.double)


def weight(size, maps):
    return Surroundings(size=size)(maps, torch.zeros(len(maps), 5))


def test_the_formula_is_the_documented_one(normal):
    maps = normal.clone()
    maps[:, 20:24, 20:24] = 40.0
    wide = smooth(maps.clamp(max=10.0), 31, 2)
    near = smooth(maps.sqrt().sqrt(), 13, 2)
    torch.testing.assert_close(weight(31, maps), (maps + 0.5 * wide) * near)


def test_files_and_pickles_without_settings_keep_the_formula_they_were_made_with(normal):
    maps = 4 * normal
    wide = smooth(maps.clamp(max=2.0), 31, 2)
    near = smooth(maps.sqrt(), 13, 2)
    state = Surroundings(size=31).__getstate__()
    pickled = Surroundings.__new__(Surroundings)
    pickled.__setstate__({k: v for k, v in state.items() if k not in EARLIER})
    for step in (Surroundings.restore({"size": 31}, {}), pickled):
        weighted = step(maps, torch.zeros(len(maps), 5))
        torch.testing.assert_close(weighted, (maps + 0.3 * wide) * near)
        assert step.config() == {"size": 31, **EARLIER}


def test_settings_survive_a_file():
    step = Surroundings(size=5, ceiling=3.0, weight=0.0, exponent=1.0)
    assert Surroundings.restore(step.config(), {}).config() == step.config()


def test_a_region_that_is_large_and_faint_stands_out(normal):
    faint = normal[:1].clone()
    faint[:, :32] += 0.5
    # In the map itself, most of it lies within what normal images show.
    assert faint[0, 8:24].median() < normal.quantile(0.999)
    weighted, usual = weight(31, faint), weight(31, normal)
    before = (faint[0, 8:24] > normal.quantile(0.95)).double().mean()
    after = (weighted[0, 8:24] > usual.quantile(0.95)).double().mean()
    assert after > before + 0.1


def test_what_is_far_from_a_strong_defect_is_left_alone(normal):
    strong = normal[:1].clone()
    strong[:, 4:8, 4:8] = 1000.0
    changed = weight(15, strong)[0] != weight(15, normal[:1])[0]
    assert bool(changed[:8, :8].all())
    assert not bool(changed[8 + Surroundings(size=15).reach :].any())


def test_the_border_of_a_defect_stays_sharp():
    maps = torch.full((1, 64, 64), 0.01, dtype=torch.double)
    maps[0, 20:40, 20:40] = 10.0
    weighted = weight(31, maps)[0]
    assert weighted[20:40, 20:40].min() > 5 * weighted[30, 41]


def test_maps_that_are_zero_stay_zero():
    maps = torch.zeros(1, 8, 8, dtype=torch.double)
    assert float(weight(5, maps).abs().max()) == 0


@pytest.mark.parametrize("size", [0, 4, -3, 3.0, "3"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="odd positive integer"):
        Surroundings(size=size)


@pytest.mark.parametrize("name", ["ceiling", "weight", "exponent"])
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match="ceiling must be above 0, weight at least 0"):
        Surroundings(size=3, **{name: value})


def test_the_size_is_a_fraction_of_the_shorter_side_and_odd():
    def size(image_shape, fraction, **parameters):
        parameters = {"region_size": fraction, "normalize_map": True, **parameters}
        step = Surroundings.from_parameters(parameters, image_shape)
        return None if step is None else step.size

    assert size((128, 400, 1), 0.6) == 77
    assert size((4, 4, 3), 0.1) == 1
    assert size((4, 4, 3), None) is None
    assert size((4, 4, 3), 0.1, normalize_map=False) is None
    assert size((4,), 0.1) is None
