"""Proves that the Wan example has the published tensors, computes what it says, and refuses what it cannot make."""

import itertools
import pathlib
import re

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (Debian: python3-torch)")

from examples import tools  # noqa: E402
from examples.wan import dit, text, vae  # noqa: E402
from examples.wan.all import Whole, test_picture as picture  # noqa: E402
from examples.wan.clip import VisionTower  # noqa: E402
from examples.wan.shape import Shape, shape_with  # noqa: E402
from examples.wan.steps import noise_levels  # noqa: E402

PUBLISHED = pathlib.Path(tools.__file__).parent / "wan" / "published.txt"
TINY = shape_with(tiny=True)


def expand(pattern):
    choices = []
    for part in re.split(r"(\{[^}]*\})", pattern):
        if not part.startswith("{"):
            choices.append([part])
        elif re.fullmatch(r"\{\d+-\d+\}", part):
            first, last = map(int, part[1:-1].split("-"))
            choices.append([str(number) for number in range(first, last + 1)])
        else:
            choices.append(part[1:-1].split(","))
    return ["".join(parts) for parts in itertools.product(*choices)]


def published():
    files = {}
    for line in PUBLISHED.read_text().splitlines():
        if line.startswith("file:"):
            shown = files.setdefault(line.split()[1], {})
        elif line and not line.startswith("#"):
            pattern, *sizes = line.split()
            for name in expand(pattern):
                assert name not in shown, f"{name} is listed twice"
                shown[name] = tuple(map(int, sizes))
    return files


@pytest.mark.parametrize(
    "part, model, tensors, parameters",
    [
        ("dit", dit.Dit, 1303, 16_395_000_000),
        ("text", text.TextEncoder, 242, 5_680_000_000),
        ("clip", VisionTower, 392, 632_000_000),
        ("vae", vae.Vae, 194, 126_900_000),
    ],
)
def test_names_and_shapes_are_those_of_the_published_checkpoint(part, model, tensors, parameters):
    listed = published()[part]
    found = {name: tuple(value.shape) for name, value in model(Shape()).state_dict().items()}
    assert found == listed
    assert len(found) == tensors
    assert abs(sum(torch.Size(size).numel() for size in found.values()) / parameters - 1) < 0.01


def test_a_checkpoint_loads_and_another_model_is_refused(tmp_path):
    made = tools.with_random_weights(vae.Vae(TINY), "cpu", torch.float32, 3)
    tensors = {f"v.{name}": value for name, value in made.state_dict().items()}
    torch.save({**tensors, "other": torch.zeros(1)}, tmp_path / "a.pth")
    loaded = tools.with_checkpoint(vae.Vae(TINY), str(tmp_path / "a.pth"), "cpu", torch.float32, "v.")
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), loaded.state_dict().values()))
    with pytest.raises(ValueError, match="another model; .* differ"):
        tools.with_checkpoint(vae.Vae(TINY), str(tmp_path / "a.pth"), "cpu", torch.float32)
    with pytest.raises(FileNotFoundError):
        tools.read_checkpoint(str(tmp_path / "b.pth"))


def test_the_same_request_makes_the_same_clip_and_another_seed_another():
    whole = Whole(TINY, "cpu")
    first, _ = whole.run("a ship", picture(40, 50), 1)
    again, _ = whole.run("a ship", picture(40, 50), 1)
    other, _ = whole.run("a ship", picture(40, 50), 2)
    worded, _ = whole.run("a tree", picture(40, 50), 1)
    assert first.shape == (9, 32, 48, 3) and first.dtype == torch.uint8
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first, worded)
    assert first.float().std() > 5


def test_a_batch_diffuses_as_its_members_would_alone():
    step = Whole(TINY, "cpu")
    context = step.text.run(["a ship", "a tree that is tall"], [None, "rain"])
    seen, given = step.image.run([picture(40, 50), picture(30, 30)])
    both = step.diffuse.run(context, seen, given, [5, 6])
    for at in range(2):
        one = slice(at, at + 1)
        alone = step.diffuse.run(context[one], seen[one], given[one], [5 + at])
        torch.testing.assert_close(alone, both[one], rtol=1e-3, atol=1e-3)


def test_padding_of_a_prompt_does_not_matter():
    step = Whole(TINY, "cpu").text
    ids, lengths = text.padded([[5, 6, 7, 1]], 16, "cpu")
    other = ids.clone()
    other[:, 4:] = 9
    with torch.inference_mode():
        found, again = step.encoder(ids, lengths), step.encoder(other, lengths)
    torch.testing.assert_close(found, again)
    assert found[0, 4:].abs().max() == 0 and found[0, :4].abs().max() > 0


@torch.no_grad()
def test_a_layer_makes_the_same_of_pieces_and_of_the_whole_and_the_encoder_does_not_look_ahead():
    torch.manual_seed(1)
    layer = tools.with_random_weights(vae.Residual(8, 8), "cpu", torch.float32, 1)
    x = torch.randn(1, 8, 9, 6, 6)
    past = {}
    pieces = torch.cat([layer(piece, past) for piece in (x[:, :, :1], *x[:, :, 1:].split(4, 2))], 2)
    torch.testing.assert_close(pieces, layer(x, {}))
    model = tools.with_random_weights(vae.Vae(TINY), "cpu", torch.float32, 1)
    clip = torch.randn(1, 3, 9, 32, 48)
    latent = model.encode(clip)
    assert latent.shape == (1, 16, 3, 4, 6)
    changed = clip.clone()
    changed[:, :, 5:] = 0
    again = model.encode(changed)
    assert torch.equal(latent[:, :, :2], again[:, :, :2]) and not torch.equal(latent[:, :, 2], again[:, :, 2])
    assert [piece.shape[2] for piece in model.decode(latent)] == [1, 4, 4]


@torch.no_grad()
def test_rotary_positions_tell_distances_only():
    model = tools.with_random_weights(dit.Dit(TINY), "cpu", torch.float32, 1)
    turn = model._turn((3, 4, 5), torch.device("cpu"))
    q, k = (torch.randn(1, 1, 1, 12).expand(1, 60, 1, 12) for _ in range(2))
    scores = torch.einsum("blhd,bmhd->lm", dit.rotate(q, turn), dit.rotate(k, turn)).view(3, 4, 5, 3, 4, 5)
    torch.testing.assert_close(scores[0, 0, 0, 1, 2, 1], scores[1, 1, 3, 2, 3, 4])
    assert (scores[0, 0, 0, 1, 2, 1] - scores[0, 0, 0, 2, 1, 1]).abs() > 1e-3


def test_noise_goes_from_all_to_none():
    levels = noise_levels(40, 3.0)
    assert levels[0] == 1 and levels[-1] == 0 and levels == sorted(levels, reverse=True)
    assert levels[20] == pytest.approx(0.75)


def test_distances_share_buckets_when_they_are_far():
    buckets = text.distance_buckets(300, torch.device("cpu"))
    assert buckets[0, 0] == 0 and buckets[7, 0] == 7 and buckets[0, 7] == 23
    assert buckets[299, 0] == 15 and buckets[0, 299] == 31 and buckets.max() == 31


@pytest.mark.parametrize(
    "options, words",
    [
        ({"frames": 80}, "4 n"),
        ({"size": "100x64"}, "multiples of 16"),
        ({"steps": 0}, "1 step"),
        ({"colour": 1}, "no option"),
    ],
)
def test_sizes_that_cannot_be_made_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        shape_with(**options)


def test_real_weights_need_their_tokenizer():
    with pytest.raises(ValueError, match="tokenizer"):
        text.Tokenizer(shape_with(tiny=True, text_weights="x.pth"))
