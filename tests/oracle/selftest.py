#!/usr/bin/python3
"""Tests of the tools themselves; needs neither root nor a kernel."""
import json
import os
import unittest

import cases
import differences
import fields
import frames as F
import record
import scenario as S
import weir
import whole

MAC = "02:00:00:00:00:01"


def packet(size=100, **header):
    return S.Client(port=53).udp(bytes(i % 251 for i in range(size)), ip=header)


class Frames(unittest.TestCase):
    def test_built_packets_have_right_checksums(self):
        p = S.Client().tcp("PA", data=b"odd")
        self.assertEqual(0, F.checksum(p[:20]))
        self.assertEqual(0, F.checksum(F.pseudo(p[12:16], p[16:20], 6, len(p) - 20) + p[20:]))

    def test_describe_names_wrong_checksums(self):
        frame = F.ethernet(MAC, MAC, S.Client().tcp("S"))
        self.assertNotIn("BAD", F.describe(frame))
        self.assertIn("BAD-SUM", F.describe(F.patch(frame, 50, b"\xde\xad")))
        self.assertIn("BAD-IP-SUM", F.describe(F.patch(frame, 24, b"\xde\xad")))

    def test_describe_takes_every_truncation(self):
        for frame in (F.ethernet(MAC, MAC, packet()),
                      F.ethernet(MAC, MAC, S.Client("2001:db8::5", vip=S.VIP6).tcp("S"))):
            for n in range(14, len(frame)):
                F.describe(frame[:n])


class Fields(unittest.TestCase):
    """A field that is blanked where it must not be would hide a fault."""

    def tunnel(self, **outer):
        return F.ethernet(MAC, MAC, F.ipv4("10.1.0.1", "10.1.0.11", F.IPIP, packet(), **outer))

    def same(self, a, b, sent=b""):
        return fields.same(sent, [("lan0", a)], [("lan0", b)])

    def test_the_outer_id_differs_only_with_df_clear(self):
        self.assertTrue(self.same(self.tunnel(df=False, id=1), self.tunnel(df=False, id=2)))
        self.assertFalse(self.same(self.tunnel(id=1), self.tunnel(id=2)))

    def test_everything_else_in_the_outer_header_counts(self):
        for other in ({"ttl": 63}, {"tos": 1}):
            self.assertFalse(self.same(self.tunnel(df=False, id=1),
                                       self.tunnel(df=False, id=1, **other)))

    def test_a_wrong_header_checksum_is_seen_under_a_random_id(self):
        good = self.tunnel(df=False, id=1)
        self.assertFalse(self.same(good, F.patch(good, 24, b"\xde\xad")))

    def test_the_inner_id_counts(self):
        a, b = (F.ethernet(MAC, MAC, packet(id=n, df=False)) for n in (1, 2))
        self.assertFalse(self.same(a, b))

    def test_a_forwarded_icmp_error_keeps_its_id(self):
        error = [F.ethernet(MAC, MAC, F.ipv4("172.16.99.1", S.VIP, F.ICMP,
                                             F.icmp4(3, 4, 1400, packet()), df=False, id=n))
                 for n in (1, 2)]
        self.assertFalse(self.same(*error, sent=error[0]))
        self.assertTrue(self.same(*error, sent=F.ethernet(MAC, MAC, packet())))

    def test_fragments_of_one_answer_share_an_id(self):
        a = [("lan0", F.ethernet(MAC, MAC, p)) for p in
             F.fragments4(F.ipv4("10.1.0.1", "10.1.0.11", F.IPIP, packet(), df=False, id=7), 48)]
        b = [a[0], ("lan0", F.ethernet(MAC, MAC, F.ipv4_summed(F.patch(a[1][1][14:], 4, b"zz"))))]
        self.assertTrue(fields.same(b"", a, a))
        self.assertFalse(fields.same(b"", a, b))

    def test_a_missing_frame_counts(self):
        self.assertFalse(fields.same(b"", [], [("lan0", self.tunnel())]))


class Whole(unittest.TestCase):
    def test_fragments_and_their_packet_are_the_same(self):
        p = packet(1000, df=False, id=5)
        frames = [("lan0", F.ethernet(MAC, MAC, f)) for f in F.fragments4(p, 400, 408)]
        one = whole.packets([("lan0", F.ethernet(MAC, MAC, p))])
        self.assertEqual(one, whole.packets(frames))
        self.assertEqual(one, whole.packets(frames[::-1]))
        self.assertEqual([], whole.packets(frames[1:]))

    def test_a_tunnel_of_fragments_is_the_tunnelled_packet(self):
        p = packet(1000, df=False, id=5)

        def wrap(inner):
            return F.ipv4("10.1.0.1", "10.1.0.11", F.IPIP, inner, df=False, id=9)
        outer = [("lan0", F.ethernet(MAC, MAC, f)) for f in F.fragments4(wrap(p), 800)]
        inner = [("lan0", F.ethernet(MAC, MAC, wrap(f))) for f in F.fragments4(p, 400, 408)]
        self.assertEqual(whole.packets(outer), whole.packets(inner))
        self.assertEqual(1, len(whole.packets(inner)))


class Scenarios(unittest.TestCase):
    known = cases.build()

    def test_every_scenario_is_recorded_as_it_stands(self):
        for name, sc in self.known.items():
            kept = record.load(name)
            for key in ("network", "services", "timeouts"):
                self.assertEqual(json.loads(json.dumps(sc[key])), kept[key], name)
            self.assertEqual([s.get("send") for s in sc["steps"]],
                             [s.get("send") for s in kept["steps"]], name)

    def test_every_recording_has_a_scenario(self):
        self.assertEqual(sorted(self.known), sorted(f[:-5] for f in os.listdir(record.GOLDEN)))

    def test_differences_name_steps_that_exist(self):
        for d in differences.ALL:
            for name, notes in d.steps.items():
                there = {s.get("note") for s in self.known[name]["steps"]}
                self.assertLessEqual(set(notes), there, d.name)
            for name in list(d.tables) + list(d.whole):
                self.assertIn(name, self.known, d.name)

    def test_a_difference_expects_something_else_than_ipvs_did(self):
        for d in differences.ALL:
            for name, notes in d.steps.items():
                for step in record.load(name)["steps"]:
                    if step.get("note") in notes:
                        sent, ipvs = bytes.fromhex(step["send"]), record.unhex(step["out"])
                        self.assertFalse(fields.same(sent, d.expect(sent, ipvs), ipvs),
                                         "%s: %s" % (d.name, step["note"]))

    def test_rules_and_configuration_name_the_same_servers(self):
        for name, sc in self.known.items():
            config = weir.configuration(sc, sc["services"], "/s", ["a", "b"])
            rules = S.ipvs_rules(sc["services"]).splitlines()
            self.assertEqual(len(rules), sum(1 + len(s["servers"]) for s in config["services"]))
            self.assertEqual(sum(r.startswith("-A") for r in rules), len(config["services"]), name)


if __name__ == "__main__":
    unittest.main()
