"""The results as people read them and as machines do: `results/DATE-HOST/README.md` and `.json`."""

import datetime
import json

from host import REPOSITORY, host_class

# The best known load balancer on DPDK, for scale.
CONTEXT = """\
For scale: DPVS 1.10 on DPDK 24.11, built and measured by us with the same kind of files on an
Intel Emerald Rapids virtual machine, reaches 0.13 of testpmd `macswap` with 1k flows and 0.09 with
1M (DR; 7.2 and 1.8 Mpps). Ratios from different machines are near each other, not comparable
digit by digit.
"""


def markdown(record):
    """The whole report."""
    host = record["host"]
    dirty = ", with uncommitted changes" if host["uncommitted"] else ""
    lines = [
        "# Weir against testpmd, one core",
        "",
        f"Commit {host['commit']}{dirty}; DPDK {host['dpdk']}; {host['rustc']}; "
        f"kernel {host['kernel']}.",
        f"{host['cpu']} (family/model {host['cpu_family_model']}, {host['cpus']} CPUs, "
        f"{host['cpu_cache']} cache). Command: `make bench`.",
        "",
        f"Frames of 60 octets (IPv6: 78) from `net_pcap,infinite_rx=1` to `net_null`, bursts of "
        f"{record['burst']}, one direction,",
        "every flow established, eight servers, one worker. Ratio: median of "
        f"{record['pairs']} pairs (baseline, contender) of {record['window_seconds']:g} s each, "
        "and their spread.",
        "Mpps: frames per second that the forwarding thread was on its CPU; *CPU* is the least "
        "share of it that a run got.",
        "",
        "| row | ratio | spread | target | | Mpps | testpmd | tax ns | CPU |",
        "|---|---|---|---|---|---|---|---|---|",
        *[line(row) for row in record["rows"]],
        "",
    ]
    if "memory" in record:
        lines += [memory_line(record["memory"]), ""]
    lines += [CONTEXT, "Commands (`$DIR` holds the files; `weir.yaml` is written by "
              "`bench/director.py`):", "", "```text"]
    lines += [record["commands"][name] for name in sorted(record["commands"])]
    lines += ["```", "", f"CPU flags: {host['cpu_flags']}", ""]
    return "\n".join(lines)


def line(row):
    """A row of the table."""
    target = f"≥ {row['target']:.2f}" if row["target"] else ""
    verdict = "" if row["target"] is None and row["passed"] else verdict_of(row)
    if "error" in row:
        return f"| {row['name']} | {row['error']} | | {target} | {verdict} | | | | |"
    return (f"| {row['name']} | **{row['ratio']:.3f}** | {row['ratio_min']:.3f}–"
            f"{row['ratio_max']:.3f} | {target} | {verdict} | {row['mpps']:.2f} | "
            f"{row['baseline_mpps']:.2f} | {row['tax_ns']:.1f} | {row['cpu_share']:.0%} |")


def memory_line(memory):
    """The sentence about memory."""
    mib = lambda octets: f"{octets / (1 << 20):.0f} MiB"
    return (f"Memory of the director with the demo's settings, under traffic: "
            f"{mib(memory['rss'])} resident and {mib(memory['hugepages'])} in hugepages, of "
            f"{mib(memory['limit'])} allowed: {verdict_of(memory)}.")


def verdict_of(result):
    """Pass or fail."""
    return "pass" if result["passed"] else "**fail**"


def save(record):
    """Writes both files and returns their directory, relative to the repository."""
    today = datetime.date.today().isoformat()
    directory = REPOSITORY / "bench" / "results" / f"{today}-{host_class(record['host'])}"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "README.md").write_text(markdown(record), encoding="utf-8")
    (directory / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return directory.relative_to(REPOSITORY)
