"""Encoding with a real tokenizer: what the ids are, what is cut, and what is refused."""

from dataclasses import dataclass

import pytest

from bench.data.encode import encode, encode_ids
from bench.data.preferences import Preferences, preferences_of
from bench.data.rows import Pair, Single
from bench.data.tokens import unpair
from bench.errors import UsageError

BOS, EOS, PAD = 0, 1, 2


def pairs(*rows: tuple, scores: tuple | None = None) -> Preferences:
    given = {} if scores is None else {"chosen_score": scores[0], "rejected_score": scores[1]}
    return preferences_of(
        [Pair(prompt=p, chosen=c, rejected=r, id=i, **given) for i, (p, c, r) in enumerate(rows, start=1)],
        source="d.jsonl",
    )


def test_plain_text_is_bos_prompt_and_separately_tokenised_completion_and_eos(make_tokenizer):
    tokenizer = make_tokenizer()
    row = encode(pairs(("the cat", " sat", " ran")), tokenizer, max_length=99).rows[0]
    ids = {text: tuple(tokenizer(text)["input_ids"]) for text in ("the cat", " sat", " ran")}
    assert row.prompt_ids == (BOS, *ids["the cat"])
    assert row.chosen_ids == (*ids[" sat"], EOS)
    assert row.rejected_ids == (*ids[" ran"], EOS)
    assert row.score_gap is None


def test_a_boundary_that_would_merge_stays_a_boundary(make_tokenizer):
    tokenizer = make_tokenizer()
    row = encode(pairs(("the c", "at", "ow")), tokenizer, max_length=99).rows[0]
    together = tuple(tokenizer("the cat")["input_ids"])
    assert (*row.prompt_ids[1:], *row.chosen_ids[:-1]) != together
    assert tokenizer.decode([*row.prompt_ids[1:], *row.chosen_ids[:-1]]) == "the cat"


def test_bos_is_not_doubled_by_a_prompt_or_a_tokenizer_that_writes_it(make_tokenizer, bpe):
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    written = encode(pairs(("<s>the", "a", "b")), make_tokenizer(), max_length=99).rows[0]
    adding = Tokenizer.from_str(bpe.to_str())
    adding.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=adding, bos_token="<s>", eos_token="</s>")
    assert tokenizer("the")["input_ids"][0] == BOS
    added = encode(pairs(("the", "a", "b")), tokenizer, max_length=99).rows[0]
    plain = encode(pairs(("the", "a", "b")), make_tokenizer(), max_length=99).rows[0]
    assert written.prompt_ids == added.prompt_ids == plain.prompt_ids
    assert added.chosen_ids == plain.chosen_ids
    with pytest.raises(UsageError, match=r"d\.jsonl, row 1, field 'prompt': it begins with two BOS"):
        encode(pairs(("<s><s>the", "a", "b")), make_tokenizer(), max_length=99)
    with pytest.raises(UsageError, match=r"row 1, field 'chosen': the completion begins with BOS"):
        encode(pairs(("the", "<s>a", "b")), make_tokenizer(), max_length=99)


def test_a_tokenizer_without_bos_adds_none_and_without_pad_pads_with_eos(make_tokenizer):
    encoded = encode(pairs(("the", "a", "b")), make_tokenizer(bos_token=None, pad_token=None), max_length=99)
    assert BOS not in encoded.rows[0].prompt_ids
    assert encoded.eos_id == encoded.pad_id == EOS
    with pytest.raises(UsageError, match="field 'prompt': it has no token"):
        encode(pairs(("", "a", "b")), make_tokenizer(bos_token=None), max_length=99)
    assert encode(pairs(("", "a", "b")), make_tokenizer(), max_length=99).rows[0].prompt_ids == (BOS,)


def test_a_tokenizer_without_eos_is_refused(make_tokenizer):
    with pytest.raises(UsageError, match="no EOS token"):
        encode(pairs(("the", "a", "b")), make_tokenizer(eos_token=None), max_length=99)


def test_eos_ends_a_completion_once_and_is_refused_inside(make_tokenizer):
    row = encode(pairs(("the", "a</s>", "b")), make_tokenizer(), max_length=99).rows[0]
    assert row.chosen_ids.count(EOS) == 1
    assert row.chosen_ids[-1] == EOS
    for text in ("a</s>b", "a</s> ", "</s>"):
        with pytest.raises(
            UsageError, match=r"d\.jsonl, row 1, field 'chosen': the completion's token \d of \d is EOS"
        ):
            encode(pairs(("the", text, "b")), make_tokenizer(), max_length=99)


def test_same_prompts_share_a_group_and_others_do_not(make_tokenizer):
    data = pairs(("the", "a", "b"), ("cat", "a", "b"), ("the", "c", "d"), ("<s>the", "e", "f"))
    assert [row.group for row in encode(data, make_tokenizer(), max_length=99).rows] == [0, 1, 0, 0]


def test_score_gap_is_chosen_less_rejected(make_tokenizer):
    data = pairs(("the", "a", "b"), scores=(3.0, 1.5))
    assert encode(data, make_tokenizer(), max_length=99).rows[0].score_gap == 1.5


def test_unpaired_rows_keep_their_labels(make_tokenizer):
    rows = [
        Single(prompt="the", completion=text, label=label, id=i)
        for i, (text, label) in enumerate([("a", True), ("b", False)])
    ]
    encoded = encode(preferences_of(rows, source="d.jsonl"), make_tokenizer(), max_length=99)
    assert encoded.kind == "unpaired"
    assert [(row.desirable, row.pair, row.group) for row in encoded.rows] == [(True, None, 0), (False, None, 0)]
    assert all(row.completion_ids[-1] == EOS for row in encoded.singles)
    with pytest.raises(UsageError, match="pairs are needed"):
        _ = encoded.pairs
    with pytest.raises(UsageError, match="pairs are needed"):
        unpair(encoded)


def test_a_long_completion_is_cut_to_max_length_and_loses_its_eos(make_tokenizer):
    data = pairs(("xyz", "123456", "ab"))
    row = encode(data, make_tokenizer(), max_length=8).rows[0]
    assert len(row.prompt_ids) + len(row.chosen_ids) == 8
    assert EOS not in row.chosen_ids
    assert row.rejected_ids[-1] == EOS
    whole = encode(data, make_tokenizer(), max_length=11, on_long="error").rows[0]
    assert whole.chosen_ids[:4] == row.chosen_ids
    with pytest.raises(
        UsageError, match=r"d\.jsonl, row 1, field 'chosen': 7 tokens after .* 4 make 11, but max_length is 10"
    ):
        encode(data, make_tokenizer(), max_length=10, on_long="error")


def test_completions_that_are_equal_once_cut_or_encoded_are_refused(make_tokenizer):
    data = pairs(("x", "a", "b"), ("xyz", "1234567", "1234890"))
    assert encode(data, make_tokenizer(), max_length=9)
    with pytest.raises(UsageError, match=r"d\.jsonl, row 2, field 'rejected': cut to the 4 tokens that max_length=8"):
        encode(data, make_tokenizer(), max_length=8)
    with pytest.raises(UsageError, match=r"row 1, field 'rejected': it has the same token ids"):
        encode(pairs(("x", "a", "a</s>")), make_tokenizer(), max_length=9)


def test_a_prompt_that_leaves_no_room_is_refused_with_its_length_the_limit_and_how_many(make_tokenizer):
    data = pairs(("x", "a", "b"), ("12345", "a", "b"), ("1234567", "a", "b"))
    said = (
        r"d\.jsonl, row 2, field 'prompt': 6 tokens, but max_length=6 leaves at most 5 .*\(2 prompts .* longest has 8\)"
    )
    with pytest.raises(UsageError, match=said):
        encode(data, make_tokenizer(), max_length=6)
    assert encode(data, make_tokenizer(), max_length=9).rows[2].chosen_ids[0] != EOS
    with pytest.raises(UsageError, match=r"row 3, field 'prompt': 8 tokens, but max_prompt_length=7 is the limit"):
        encode(data, make_tokenizer(), max_length=99, max_prompt_length=7)


def test_limits_that_mean_nothing_are_refused(make_tokenizer):
    data = pairs(("x", "a", "b"))
    with pytest.raises(UsageError, match="max_length=1"):
        encode(data, make_tokenizer(), max_length=1)
    with pytest.raises(UsageError, match="max_prompt_length=0"):
        encode(data, make_tokenizer(), max_length=9, max_prompt_length=0)
    with pytest.raises(UsageError, match=r"on_long='truncate'.*\n.*did you mean 'truncate_completion'"):
        encode(data, make_tokenizer(), max_length=9, on_long="truncate")


@dataclass(frozen=True)
class Ids:
    prompt_ids: tuple
    chosen_ids: tuple
    rejected_ids: tuple
    chosen_score: float | None = 2.0
    rejected_score: float | None = 0.5


def test_ids_are_taken_as_they_are(make_tokenizer):
    rows = [Ids((0, 9), (7, 8, 1), (7, 1)), Ids((0, 9), (5,), (6,), None, None)]
    encoded = encode_ids(rows, make_tokenizer(), max_length=9, source="suite s")
    assert [(r.prompt_ids, r.chosen_ids, r.rejected_ids) for r in encoded.pairs] == [
        ((0, 9), (7, 8, 1), (7, 1)),
        ((0, 9), (5,), (6,)),
    ]
    assert [(r.score_gap, r.group) for r in encoded.pairs] == [(1.5, 0), (None, 0)]
    assert (encoded.eos_id, encoded.pad_id) == (EOS, PAD)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Ids((0,), (5,), ()), "field 'rejected_ids': there is no token"),
        (Ids((), (5,), (6,)), "field 'prompt_ids': there is no token"),
        (Ids((0,), (99_999,), (6,)), "field 'chosen_ids': 99999 is no id"),
        (Ids((0,), (5,), (-1,)), "field 'rejected_ids': -1 is no id"),
        (Ids((0,), (5,), (5,)), "field 'rejected': it has the same token ids"),
        (Ids((0,) * 9, (5,), (6,)), "field 'prompt': 9 tokens, but max_length=9"),
    ],
)
def test_ids_that_cannot_be_right_are_refused(make_tokenizer, row, said):
    with pytest.raises(UsageError, match=f"suite s, row 2, {said}"):
        encode_ids([Ids((0,), (5,), (6,)), row], make_tokenizer(), max_length=9, source="suite s")


def test_the_hash_is_of_what_the_model_sees(make_tokenizer):
    def hashed(*rows, **limits):
        return encode_ids(
            [Ids(*row) for row in rows], make_tokenizer(), source="s", **{"max_length": 9} | limits
        ).content_hash

    base = hashed(((0, 3), (4,), (5,)))
    assert base == hashed(((0, 3), (4,), (5,)), max_length=8)
    others = [((0,), (3, 4), (5,)), ((0, 3), (5,), (4,)), ((0, 3), (4,), (5, 1)), ((0, 3), (4,), (5,), 2.0, 0.0)]
    assert len({base, *(hashed(other) for other in others)}) == 1 + len(others)


def test_unpairing_keeps_the_two_sides_of_a_pair_together(make_tokenizer):
    encoded = encode(pairs(("the", "a", "b"), ("cat", "c", "d")), make_tokenizer(), max_length=99)
    single = unpair(encoded)
    assert single.kind == "unpaired"
    assert [(s.desirable, s.pair, s.group) for s in single.singles] == [
        (True, 0, 0), (False, 0, 0), (True, 1, 1), (False, 1, 1),
    ]  # fmt: skip
    assert [s.completion_ids for s in single.singles] == [
        ids for pair in encoded.pairs for ids in (pair.chosen_ids, pair.rejected_ids)
    ]
    assert single.content_hash != encoded.content_hash
    with pytest.raises(UsageError, match="single completions are needed"):
        _ = encoded.singles
