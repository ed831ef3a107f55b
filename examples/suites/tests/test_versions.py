import unittest

from versions import newest


class Newest(unittest.TestCase):
    def test_numbers_not_text(self):
        self.assertEqual(newest(["1.9", "1.10", "1.2"]), "1.10")

    def test_more_parts_are_newer(self):
        self.assertEqual(newest(["2.0", "2.0.1"]), "2.0.1")

    def test_none(self):
        with self.assertRaisesRegex(ValueError, "no version"):
            newest([])
