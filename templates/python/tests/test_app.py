import unittest

from app import {{tool}}
from tidegate import Failure, Level, code
from tidegate.testing import Host


class Greeting(unittest.TestCase):
    def test_a_person_is_greeted_by_name(self):
        host = Host(subject="u7")
        self.assertEqual(host.call({{tool}}, name="Ada"), {"greeting": "Hello, Ada!"})
        self.assertEqual(host.logs, [(Level.INFO, "u7 greets Ada")])

    def test_nobody_is_the_callers_mistake(self):
        with self.assertRaises(Failure) as caught:
            Host().call({{tool}}, name=" ")
        self.assertEqual(caught.exception.code, code.INVALID_ARGUMENTS)


if __name__ == "__main__":
    unittest.main()
