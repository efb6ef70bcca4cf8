"""Proves that a batch that sequences join and leave answers what each alone would, apart and together."""

import json
import pathlib
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (Debian: python3-torch)")

from examples import tools  # noqa: E402
from examples.llm import load  # noqa: E402
from examples.llm.attend import read_prompt  # noqa: E402
from examples.llm.batch import Batch, Prompt  # noqa: E402
from examples.llm.model import Llama, Shape, shape_of  # noqa: E402
from examples.llm.reader import Reader  # noqa: E402

PROMPTS = [[5, 6, 7, 8, 9], [1, 2, 3], [9] * 11, [4, 250, 3, 17], [77]]
WANTED = [6, 3, 9, 2, 5]


@pytest.fixture(scope="module")
def model():
    made = tools.with_random_weights(Llama(shape_of(2, 128, 300)), "cpu", torch.float32, 1)
    made.prepare(64)
    return made


def alone(model, prompt, wanted):
    tokens = list(prompt)
    for _ in range(wanted):
        kv = torch.zeros(model.shape.kv_size(len(tokens)))
        tokens.append(int(read_prompt(model, torch.tensor(tokens), kv)))
    return tokens[len(prompt) :]


def follow(answers, moved):
    for key, token, _ in moved:
        answers[key].append(token)


def test_the_8b_shape_is_the_published_one():
    state = Llama(Shape()).state_dict()
    assert len(state) == 291 and sum(value.numel() for value in state.values()) == 8_030_261_248
    assert state["model.layers.31.mlp.down_proj.weight"].shape == (4096, 14336)
    assert state["model.layers.0.self_attn.k_proj.weight"].shape == (1024, 4096)
    assert Shape().kv_bytes == 128 * 1024


@torch.inference_mode()
@pytest.mark.parametrize("way", ["whole", "pieces", "long pieces", "from elsewhere"])
def test_sequences_join_and_leave_and_answer_what_each_alone_would(model, way):
    batch = Batch(model, 3, 64, *{"whole": (40,), "pieces": (40, 2), "long pieces": (11, 5), "from elsewhere": ()}[way])
    answers = {}
    for number, (words, wanted) in enumerate(zip(PROMPTS, WANTED)):
        while batch.free == 0:
            follow(answers, batch.step())
        tokens = torch.tensor(words)
        if way == "whole":
            answers[number] = [batch.begin(number, tokens, wanted - 1)]
            follow(answers, batch.step())
        elif "pieces" in way:
            for start in range(0, len(words), batch.chunk):
                moved, first = batch.step_with(Prompt(number, tokens, wanted - 1), start)
                follow(answers, moved)
            answers[number] = [first]
        else:
            kv = torch.zeros(model.shape.kv_size(len(words)))
            answers[number] = [int(read_prompt(model, tokens, kv))]
            batch.join(number, kv, answers[number][0], wanted - 1)
            follow(answers, batch.step())
    for _ in range(64):
        follow(answers, batch.step())
    assert not batch.sequences
    assert answers == {number: alone(model, *one) for number, one in enumerate(zip(PROMPTS, WANTED))}


@torch.inference_mode()
def test_a_reader_finds_what_a_plain_pass_finds(model):
    reader = Reader(model, 40)
    for words in PROMPTS:
        plain, padded = (torch.zeros(model.shape.kv_size(len(words))) for _ in range(2))
        first = read_prompt(model, torch.tensor(words), plain)
        assert int(reader.read(torch.tensor(words), padded)) == int(first)
        assert torch.allclose(padded, plain, atol=1e-5)
    for count in (0, 41):
        with pytest.raises(ValueError, match=f"1 to 40 tokens, not {count}"):
            reader.read(torch.zeros(count, dtype=torch.long), padded)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@torch.inference_mode()
@pytest.mark.parametrize("chunk", [0, 256])
def test_graphs_on_a_gpu_find_what_single_kernels_find(chunk):
    shape = shape_of(2, 512, 300)
    made = tools.with_random_weights(Llama(shape), "cuda", torch.bfloat16, 1)
    found = []
    for graphs in (True, False):
        batch = Batch(made, 10, 800, 700, chunk, graphs)
        answers = {}
        for number, length in enumerate([600, 700, 90, 256, 300, 1, 513]):
            tokens = (torch.arange(length, device="cuda") * 7 + number) % 300
            if chunk == 0:
                answers[number] = [batch.begin(number, tokens, 20 + number)]
                follow(answers, batch.step())
                continue
            for start in range(0, length, chunk):
                moved, first = batch.step_with(Prompt(number, tokens, 20 + number), start)
                follow(answers, moved)
            answers[number] = [first]
        while batch.sequences:
            follow(answers, batch.step())
        found.append(answers)
    assert found[0] == found[1] and {len(one) for one in found[0].values()} == set(range(21, 28))


@torch.inference_mode()
def test_one_that_is_removed_disturbs_no_other(model):
    batch = Batch(model, 3, 64, 40)
    answers = {number: [batch.begin(number, torch.tensor(PROMPTS[number]), 8)] for number in range(3)}
    follow(answers, batch.step())
    batch.remove(0)
    for _ in range(7):
        follow(answers, batch.step())
    assert len(answers[0]) == 2
    assert [answers[1], answers[2]] == [alone(model, PROMPTS[1], 9), alone(model, PROMPTS[2], 9)]


@torch.inference_mode()
def test_what_has_no_room_is_refused(model):
    batch = Batch(model, 1, 16, 12)
    with pytest.raises(ValueError, match="a slot has 16"):
        batch.begin(0, torch.arange(10), 7)
    batch.begin(0, torch.arange(10), 6)
    with pytest.raises(ValueError, match="all 1 slots"):
        batch.begin(1, torch.arange(2), 2)
    with pytest.raises(ValueError, match="1 to 128 slots"):
        Batch(model, 0, 16)
    with pytest.raises(ValueError, match="prompts of less than 16"):
        Batch(model, 1, 16, 16)
    with pytest.raises(ValueError, match="in pieces, or elsewhere"):
        Batch(model, 1, 16).begin(0, torch.arange(2), 2)
    pieces = Batch(model, 1, 16, 8, 4)
    for start, length in [(2, 8), (8, 8), (0, 9)]:
        with pytest.raises(ValueError, match=f"no piece at {start} of {length} tokens"):
            pieces.step_with(Prompt(0, torch.arange(length), 2), start)


def test_a_score_counts_those_that_had_no_answer():
    requests = [(0.0, load.Request(0, 8, 11)), (1.0, load.Request(1, 8, 11))]
    row = load.score(requests, 100.0, {0: (100.15, 100.25)})
    assert row["answered"] == 1 and row["ttftMsP50"] == pytest.approx(150) and row["tpotMsP50"] == pytest.approx(10)
    assert row["met"]["200/12"] == 0.5 and row["met"]["200/8"] == 0
    rows = [{"rate": 1, "met": {"a": 0.95}}, {"rate": 2, "met": {"a": 0.8}}, {"rate": 3, "met": {"a": 0.99}}]
    assert load.goodput(rows) == {"a": 1}


def test_arrivals_are_the_same_for_the_same_seed():
    first, again = (load.arrivals(20, 50, 3, (4, 9), (2, 5)) for _ in range(2))
    assert first == again and 850 < len(first) < 1150
    assert all(4 <= one.prompt <= 9 and 2 <= one.wanted <= 5 for _, one in first)


@pytest.mark.parametrize("system", ["--devices cpu,cpu --system apart", "--devices cpu --system halves"])
def test_prefill_and_decode_apart_answer_every_request(system):
    # The other systems take as long, and their steps are tested above.
    words = "--rates 8 --seconds 1 --patience 60 --layers 1 --width 128 --vocabulary 300 ".split() + system.split()
    words += "--prompt 8,24 --answer 4,12 --slots 4 --chunk 8 --places 2".split()
    done = subprocess.run(
        [sys.executable, "-B", "-m", "examples.llm.pd_bench", *words],
        cwd=pathlib.Path(tools.__file__).parents[1], capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[1]["requests"] > 2 and rows[1]["answered"] == rows[1]["requests"]
    assert 0 < rows[1]["ttftMsP50"] < 60_000 and 0 < rows[1]["tpotMsP50"] < 60_000
