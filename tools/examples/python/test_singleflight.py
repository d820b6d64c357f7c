# SPDX-License-Identifier: BSD-2-Clause
import asyncio
import errno
import threading
import time
import unittest

import singleflight


def in_threads(n, f):
    """What f() returns, or raises, in each of n threads."""
    came = []

    def run():
        try:
            came.append(f())
        except BaseException as e:
            came.append(e)
    threads = [threading.Thread(target=run) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return came


class Threads(unittest.TestCase):
    def setUp(self):
        self.group = singleflight.Group()
        self.runs = 0

    def tearDown(self):
        self.group.close()
        self.assertEqual(singleflight.outcomes, {})

    def when_all_wait(self, n, then):
        def fn():
            self.runs += 1
            while self.group.stats().waiting != n - 1:
                time.sleep(0)
            return then()
        return fn

    def test_one_runs_for_all(self):
        page = ['page']
        came = in_threads(8, lambda: self.group.do('key', self.when_all_wait(8, lambda: page)))
        self.assertEqual(len(came), 8)
        self.assertTrue(all(c is page for c in came))
        self.assertEqual(self.runs, 1)

    def test_exceptions_reach_all(self):
        came = in_threads(3, lambda: self.group.do('key', self.when_all_wait(3, lambda: {}['none'])))
        self.assertEqual([type(c) for c in came], [KeyError] * 3)

    def test_exits_do_not(self):
        def leave():
            raise SystemExit
        came = in_threads(2, lambda: self.group.do('key', self.when_all_wait(2, leave)))
        self.assertEqual({type(c) for c in came}, {SystemExit, OSError})

    def test_failures_of_the_library(self):
        with self.assertRaises(OSError) as own:
            self.group.do('key', lambda: self.group.do('key', None))
        self.assertEqual(own.exception.errno, errno.EDEADLK)

        def hurried():
            return in_threads(1, lambda: self.group.do('key', None, timeout=0.001))[0]
        self.assertIsInstance(self.group.do('key', hurried), TimeoutError)

    def test_forget(self):
        def newer():
            self.assertTrue(self.group.forget('key'))
            return in_threads(1, lambda: self.group.do('key', lambda: 2))[0]
        self.assertEqual(self.group.do('key', newer), 2)
        self.assertFalse(self.group.forget('key'))


class Coroutines(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.group = singleflight.AsyncGroup()
        self.go_on = asyncio.Event()
        self.runs = 0

    async def asyncTearDown(self):
        self.group.close()
        self.assertEqual(singleflight.outcomes, {})

    async def make(self):
        self.runs += 1
        await self.go_on.wait()
        return self.runs

    async def start(self, n, key='key'):
        flights = [asyncio.create_task(self.group.fly(key, self.make)) for _ in range(n)]
        while self.group.stats().led + self.group.stats().joined < n:
            await asyncio.sleep(0)
        return flights

    async def test_one_runs_for_all(self):
        flights = await self.start(10)
        self.go_on.set()
        self.assertEqual(await asyncio.gather(*flights), [1] * 10)

    async def test_who_is_cancelled_has_left(self):
        flights = await self.start(3)
        flights[0].cancel()
        flights[1].cancel()
        with self.assertRaises(asyncio.CancelledError):
            await flights[1]
        self.assertEqual(self.group.stats().waiting, 1)
        self.go_on.set()
        self.assertEqual(await flights[2], 1)
        with self.assertRaises(asyncio.CancelledError):
            await flights[0]

    async def test_the_work_is_cancelled_before_it_begins(self):
        flight = asyncio.create_task(self.group.fly('key', self.make))
        await asyncio.sleep(0)
        for leader in self.group._leaders:
            leader.cancel()
        with self.assertRaises(OSError) as raised:
            await flight
        self.assertEqual(raised.exception.errno, errno.EOWNERDEAD)
        self.assertEqual(self.runs, 0)
        self.assertEqual(self.group.stats().in_flight, 0)

    async def test_exceptions_reach_all(self):
        async def fails():
            await self.go_on.wait()
            raise KeyError
        flights = [asyncio.create_task(self.group.fly('key', fails)) for _ in range(2)]
        await asyncio.sleep(0)
        self.go_on.set()
        came = await asyncio.gather(*flights, return_exceptions=True)
        self.assertEqual([type(c) for c in came], [KeyError] * 2)


if __name__ == '__main__':
    unittest.main()
