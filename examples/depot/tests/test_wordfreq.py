"""Run by the workflow once per way of counting: PYTHONPATH=. CASE=fold python3 -m unittest discover -s
tests."""

import os
import unittest

from wordfreq import frequencies

CASE = os.environ.get("CASE", "fold")


class Frequencies(unittest.TestCase):
    def test_words_are_counted(self) -> None:
        counted = frequencies("The cat and the hat", CASE)
        self.assertEqual(counted["cat"], 1)
        self.assertEqual(counted["the"], 2 if CASE == "fold" else 1)

    def test_digits_are_no_words(self) -> None:
        self.assertEqual(frequencies("42 is 42", CASE), {"is": 1})


if __name__ == "__main__":
    unittest.main()
