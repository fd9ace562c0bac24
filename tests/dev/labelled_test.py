#!/usr/bin/env python3
"""The labelled sets of bench/classify: what is read from each kind of source, and what is drawn from it. No network."""

import json
import sys
import unittest
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench" / "classify"))

import _labelled
import exits

INDEX = """Package: libzed-dev
Source: zed (2.1-1)
Description: development files
Section: libdevel

Package: zed
Version: 2.1-1
Description: small planner of routes
Tag: interface::commandline, role::program,
 use::organizing, use::viewing
Section: net

Package: zed-common
Source: zed
Description: shared files of the planner
Section: net
"""
TERMS = """# a comment :: of the file
Dorn {m} [bot.] [techn.] | Dornen {pl} :: thorn [Br.]; sharp spine {n} | thorns
Abend {m} :: evening
Kraut {n} [bot.] [cook.] :: some herb or other
"""
SENSES = """  1 This software and database is being provided
00005930 05 n 02 dwarf 0 pygmy_creature 0 001 @ 00004475 n 0000 | an animal that is small; "a dwarf among them"  
00006024 16 n 01 reason 0 000 | what one acts for
"""
FIELDS = """Abaca \\Ab"a*ca\\, n. [The native name.]
   The Manila-hemp plant ({Musa textilis}); also,
   its fiber. (Bot.)
   [1913 Webster]

Ana \\A"na\\, n. (Mus.) A {slow} tune,
   played twice. [Obs.] --Dryden.
   [1913 Webster]

   {Ana grande}, a longer one.

Ana \\A"na\\, n. (Mus.) (Bot.) Two fields.
"""


def source(each=200, several=False):
    return _labelled.Source(None, None, ("birds", "music"), each, several)


def documents(n, label, start=0):
    return [(f"{label}{i}", f"text number {i} about {label}", [label]) for i in range(start, start + n)]


class Read(unittest.TestCase):
    def test_a_source_has_one_package_and_it_is_the_one_named_like_it(self):
        self.assertEqual(list(_labelled.sections(INDEX)), [("zed", "small planner of routes", ["net"])])

    def test_tags_are_read_over_broken_lines(self):
        self.assertEqual(list(_labelled.purposes(INDEX)), [("zed", "small planner of routes", ["organizing", "viewing"])])

    def test_a_term_is_its_english_side_without_marks(self):
        found = {name: (text, labels) for name, text, labels in _labelled.terms(TERMS)}
        self.assertEqual(found["de-en:2"], ("thorn; sharp spine; thorns", ["botany"]))
        self.assertEqual(found["de-en:3"], ("evening", []))
        self.assertCountEqual(found["de-en:4"][1], ["botany", "cooking"])

    def test_a_sense_is_what_its_words_mean_without_examples(self):
        self.assertEqual(list(_labelled.senses(SENSES)),
                         [("noun:00005930", "an animal that is small", ["animal"]),
                          ("noun:00006024", "what one acts for", [""])])

    def test_a_field_is_read_where_an_entry_names_one(self):
        found = dict((name, (text, labels)) for name, text, labels in _labelled.fields(FIELDS))
        self.assertEqual(found["Ana:1"], ("Ana: A slow tune, played twice", ["music"]))
        self.assertNotIn("Ana:2", found)


class Drawn(unittest.TestCase):
    def lines(self, rows, made_of=None, seed=1):
        return [json.loads(line) for line in _labelled.drawn("test", rows, made_of or source(), seed)[0]]

    def test_a_line_has_the_fields_of_its_set_and_no_others(self):
        rows = documents(200, "birds") + documents(200, "music")
        self.assertEqual({tuple(line) for line in self.lines(rows)}, {("id", "text", "label")})
        several = self.lines([(name, text, ["birds", "music"]) for name, text, _ in rows], source(500, several=True))
        self.assertEqual({tuple(line) for line in several}, {("id", "text", "labels")})
        self.assertEqual(several[0]["labels"], ["birds", "music"])

    def test_no_more_than_the_most_of_a_label_are_drawn(self):
        lines = self.lines(documents(300, "birds") + documents(170, "music"))
        self.assertEqual(Counter(line["label"] for line in lines), {"birds": 200, "music": 170})

    def test_a_label_with_too_few_texts_is_refused_by_name(self):
        with self.assertRaisesRegex(SystemExit, "label 'music' has 149 texts of 150"):
            self.lines(documents(200, "birds") + documents(149, "music"))

    def test_the_draw_depends_on_the_seed_and_not_on_the_order(self):
        rows = documents(300, "birds") + documents(300, "music")
        self.assertEqual(self.lines(rows), self.lines(rows[::-1]))
        self.assertNotEqual(self.lines(rows), self.lines(rows, seed=2))

    def test_another_document_moves_no_other(self):
        rows = documents(150, "birds") + documents(150, "music")
        before = self.lines(rows)
        after = [line for line in self.lines(rows + documents(1, "birds", start=999)) if line["id"] != "birds999"]
        self.assertEqual(before, after)

    def test_equal_texts_are_one_and_none_where_their_labels_differ(self):
        rows = documents(200, "birds") + documents(200, "music")
        rows += [("a", "Once said here", ["birds"]), ("b", "once said here", ["birds"])]
        rows += [("c", "said both ways", ["birds"]), ("d", "said both ways", ["music"])]
        found = {line["id"] for line in self.lines(rows, source(500))}
        self.assertEqual(found & set("abcd"), {"a"})

    def test_a_text_that_says_its_label_first_is_left_out(self):
        rows = documents(200, "birds") + documents(200, "music")
        rows += [("a", "A bird that sings", ["birds"]), ("b", "What sings is a bird", ["birds"])]
        self.assertEqual({line["id"] for line in self.lines(rows, source(500))} & set("ab"), {"b"})

    def test_a_text_of_two_labels_is_not_in_a_set_of_one(self):
        rows = documents(200, "birds") + documents(200, "music") + [("a", "both of the two", ["birds", "music"])]
        self.assertNotIn("a", {line["id"] for line in self.lines(rows, source(500))})


class HeldOut(unittest.TestCase):
    def test_one_document_in_five_is_held_out_whatever_its_text(self):
        held_out = lambda text: [exits.is_held_out(json.dumps({"id": f"d{i}", "text": text})) for i in range(2000)]
        self.assertEqual(held_out("a"), held_out("b"))
        self.assertTrue(350 <= sum(held_out("a")) <= 450)  # 400, three deviations of 18


class Sets(unittest.TestCase):
    def test_every_set_has_six_to_twenty_five_labels_and_at_most_eight_thousand_texts(self):
        for name, made_of in _labelled.SOURCES.items():
            with self.subTest(name):
                self.assertTrue(6 <= len(set(made_of.labels)) <= 25)
                self.assertTrue(made_of.several or len(made_of.labels) * made_of.most <= 8000)


if __name__ == "__main__":
    unittest.main()
