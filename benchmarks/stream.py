"""The live service: frames a second, milliseconds from sending to handled and to committed, cuts, memory, idle cost.

    python benchmarks/stream.py [rate] [burst] [commit] [cuts] [idle] [tools]    (without a name: all but tools)

The service is the program's own (logic/live/service.py) with all its checks and threads, on a PostgreSQL with default
settings; the frames come over real sockets from a process of their own (stream_sender.py), by the steady clock of this
machine: a delay counts from before the frame is written to the socket until a subscriber of the event bus has it.

rate    delays and processor time at 2,000 to 30,000 frames a second: 300 series whose open candles are wanted too,
        100 streams of trades that are stored, closed candles of all series every two seconds; five subscribers
burst   50,000 frames a second for five seconds: how long until all are handled, and all trades stored
commit  a minute closes in 1, 300 and 3,000 series at once: from reading a final frame to its committed row, and until
        all are committed; memory after so many minutes
cuts    connections torn: until all their streams deliver again; silent ones: until that is noticed
idle    processor time of 300 series at the exchange's own cadence, one minute closing
tools   other tools read the same frames, in turns (their beginnings in other_tools/ say what they do not do)

Each runs in a process of its own. Prints JSON lines; `load` is the machine's load average then.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import PROJECT, own_folder, own_server, print_line

# isort: split
# The import above lets those below be found.
from servers import url_of
from stream_live import Live, Sender, Wanted, percentiles, resident_mib, running
from stream_others import OTHER_TOOLS, OtherTool

from core.instrument import Market
from core.streams import Seam, SeamReason, StreamLive
from db.embedded import EmbeddedServer

TRADES = 100  # streams of them: one frame in four
SUBSCRIBERS = 5  # of the event bus, to everything
RATES = (2_000, 5_000, 10_000, 15_000, 20_000, 30_000)


@dataclass
class Service:
    """The service as something that reads what a sender sends."""

    live: Live
    finals: int = 0
    began_cpu: float = 0.0

    @property
    def sender(self) -> Sender:
        """Who sends."""
        return self.live.sender

    def begin(self) -> None:
        """Count anew."""
        for one in self.live.handlers:
            del one.delays_us[:]
        self.finals, self.began_cpu = self.live.meter.finals, time.process_time()

    def end(self, sent: int) -> dict[str, object]:
        """Wait until everything is handled by every subscriber, and return what was counted."""
        live = self.live

        def is_handled() -> bool:
            finals = live.meter.finals - self.finals
            return all(len(one.delays_us) + finals >= sent for one in live.handlers)

        live.wait("all frames", is_handled)
        cpu_s = time.process_time() - self.began_cpu
        return {
            "handled": sent,
            "delay_ms": percentiles([us / 1000 for one in live.handlers for us in one.delays_us]),
            "cpu_us_a_frame": round(cpu_s / sent * 1e6, 1),
            "resident_mib": round(resident_mib(), 1),
        }

    def stop(self) -> None:
        """Nothing: it stops with the sender."""


def sent_at(reader: Service | OtherTool, per_second: int, seconds: float, finals_s: float) -> dict[str, object]:
    """Send at a rate, wait until everything is handled, and return what was measured."""
    sender = reader.sender
    sender.ask("pause")
    time.sleep(0.3)
    reader.begin()
    began_s = time.monotonic()
    told = sender.ask("rate", per_second, seconds, finals_s)
    sent = int(str(told["sent"])) + int(str(told["finals"]))
    found = reader.end(sent)
    took_s = time.monotonic() - began_s
    sender.ask("resume")
    lost = sent - int(str(found.pop("handled")))
    return {"rate": per_second, "sent": sent, "lost": lost, "seconds": round(took_s, 1), **found}


def rate(server: EmbeddedServer, folder: Path, seconds: float) -> None:
    """Measure delays at rising rates."""
    wanted = Wanted(300, trades=TRADES, subscribers=SUBSCRIBERS)
    with running(url_of(server, "postgres"), folder, wanted, minutes=2 + int(len(RATES) * (seconds + 2))) as live:
        service = Service(live)
        sent_at(service, 2_000, 2.0, 1.0)  # warm
        for per_second in RATES:
            say("rate", **sent_at(service, per_second, seconds, 2.0))
            live.wait("the trades in the database", lambda: live.service.records.writer.unsaved == 0)


def burst(server: EmbeddedServer, folder: Path, seconds: float) -> None:
    """Measure whether anything is lost when far too much comes."""
    with running(
        url_of(server, "postgres"), folder, Wanted(300, trades=TRADES, subscribers=SUBSCRIBERS), minutes=10
    ) as live:
        say("burst", **sent_at(Service(live), 50_000, seconds, 0.0))
        began_s = time.monotonic()
        live.wait("the trades in the database", lambda: live.service.records.writer.unsaved == 0)
        say("burst", seconds_until_all_trades_are_stored=round(time.monotonic() - began_s, 2))


def commit(server: EmbeddedServer, folder: Path, series: int, minutes: int) -> None:
    """Measure how long closed candles take into the database."""
    with running(url_of(server, "postgres"), folder, Wanted(series), minutes=minutes + 4) as live:
        wholes = []
        for number in range(minutes + 1):
            if number == 1:
                del live.to_commit.ms[:]
                wholes.clear()
            stored = live.service.counters.stored
            at_us = int(str(live.sender.ask("close")["at_us"]))
            live.wait("the rows", lambda stored=stored: live.service.counters.stored - stored >= series)
            wholes.append(time.monotonic_ns() / 1e6 - at_us / 1000)
            time.sleep(0.3)
        say(
            "commit",
            series=series,
            minutes=minutes,
            frame_to_commit_ms=percentiles(live.to_commit.ms),
            sent_to_all_committed_ms=percentiles(wholes),
            resident_mib=round(resident_mib(), 1),
        )


def cuts(server: EmbeddedServer, folder: Path, market: Market, count: int) -> None:
    """Measure how long streams are away after a cut, and how soon a silent connection is noticed."""
    # Many connections, cut in turn: each has delivered for a minute before it is cut again, so that no wait grows.
    wanted = Wanted(300, market=market, per_connection=20)
    with running(url_of(server, "postgres"), folder, wanted, minutes=10) as live:
        time.sleep(62)  # until the usual silences are known
        away, first = [], []
        for _ in range(count):
            at_us, streams = torn(live, "abort")
            live.wait("streams again", lambda: len(again(live, at_us)) >= streams)  # noqa: B023
            found = again(live, at_us)
            first.append((min(found) - at_us) / 1e6)
            away.append((max(found) - at_us) / 1e6)
            time.sleep(max(0.0, 6.0 - away[-1]))
        say("cuts", market=market.value, cuts=count, all_streams_s=percentiles(away, 2), first_s=percentiles(first, 2))
        noticed = []
        for _ in range(5):
            at_us, _ = torn(live, "silence")
            live.wait("the silence", lambda: bool(silences(live, at_us)))  # noqa: B023
            noticed.append((silences(live, at_us)[0] - at_us) / 1e6)
            time.sleep(3)
        say("cuts", market=market.value, silent_connection_noticed_s=percentiles(noticed, 1))


def torn(live: Live, how: str) -> tuple[int, int]:
    """Do something to the oldest connection; return when, and how many streams it carries."""
    told = live.sender.ask(how, 0)
    return int(str(told["at_us"])), int(str(told["streams"]))


def again(live: Live, since_us: int) -> list[int]:
    """Return when streams became live after a moment."""
    return [at_us for at_us, event in list(live.meter.events) if at_us > since_us and isinstance(event, StreamLive)]


def silences(live: Live, since_us: int) -> list[int]:
    """Return when silent connections were given up after a moment."""
    told = [(at_us, event) for at_us, event in list(live.meter.events) if at_us > since_us]
    return [at_us for at_us, event in told if isinstance(event, Seam) and event.reason is SeamReason.SILENT]


def idle(server: EmbeddedServer, folder: Path, seconds: float) -> None:
    """Measure what a stream costs that has little to do."""
    with running(url_of(server, "postgres"), folder, Wanted(300), minutes=10) as live:
        live.sender.ask("close")
        time.sleep(5)
        began_s, began_cpu = time.monotonic(), time.process_time()
        live.sender.ask("close")
        time.sleep(seconds)
        cpu_s, took_s = time.process_time() - began_cpu, time.monotonic() - began_s
        say("idle", series=300, core_percent=round(100 * cpu_s / took_s, 1), resident_mib=round(resident_mib(), 1))


def tools(server: EmbeddedServer, folder: Path, python: Path, rounds: int) -> None:
    """Let the service and other tools read the same frames at 10,000 a second, in turns."""
    if not python.exists():
        raise SystemExit(f"{python} is not there: the beginning of compare.py says how it is made")
    with running(url_of(server, "postgres"), folder, Wanted(300, trades=TRADES, subscribers=1), minutes=100) as live:
        readers = {"this program": Service(live), **{name: OtherTool(name, python) for name in OTHER_TOOLS}}
        try:
            for reader in readers.values():
                sent_at(reader, 2_000, 1.0, 0.5)  # warm
            for _ in range(rounds):
                for name, reader in readers.items():
                    say("tools", who=name, **sent_at(reader, 10_000, 3.0, 1.0))
                    live.wait("the trades in the database", lambda: live.service.records.writer.unsaved == 0)
        finally:
            for reader in readers.values():
                reader.stop()


def say(name: str, **figures: object) -> None:
    """Print one result."""
    print_line({"what": name, **figures, "load": round(os.getloadavg()[0], 1)})


def main() -> None:
    """Run what is named, or everything, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["rate", "burst", "commit", "cuts", "idle"])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate, and of the burst")
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--minutes", type=int, default=40, help="that close, of `commit`")
    parser.add_argument("--series", type=int, nargs="+", default=[1, 300, 3000], help="of `commit`")
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5, help="of `tools`")
    parser.add_argument("--tools-python", type=Path, default=PROJECT / ".venv-benchmarks" / "bin" / "python")
    options = parser.parse_args()
    works: dict[str, Callable[[EmbeddedServer, Path], None]] = {
        "rate": lambda server, folder: rate(server, folder, options.seconds),
        "burst": lambda server, folder: burst(server, folder, options.seconds),
        "tools": lambda server, folder: tools(server, folder, options.tools_python, options.rounds),
        "idle": lambda server, folder: idle(server, folder, options.idle_seconds),
    }
    for series in options.series:
        works[f"commit-{series}"] = lambda server, folder, series=series: commit(
            server, folder, series, options.minutes
        )
    for market in (Market.SPOT, Market.UM):
        works[f"cuts-{market}"] = lambda server, folder, market=market: cuts(server, folder, market, options.cuts)
    if len(options.names) == 1 and options.names[0] in works:
        with own_folder() as folder, own_server(folder) as server:
            works[options.names[0]](server, folder)
        return
    rest = [one for one in sys.argv[1:] if one not in options.names]
    for name in works:
        if name in options.names or name.split("-")[0] in options.names:
            subprocess.run([sys.executable, __file__, name, *rest], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
