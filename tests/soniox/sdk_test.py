"""sdk_test.py - the stand-in and Soniox' Python SDK (PyPI soniox): header authentication, events as its models want them, errors, REST."""
import asyncio
import json
import os
import re
import socket
import struct
import subprocess
import time
import unittest
import urllib.request
import wave

from soniox import AsyncSonioxClient, SonioxClient
from soniox.types.realtime import RealtimeSTTConfig

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("STANDIN", os.path.join(ROOT, "build/dev/soniox-standin"))
SAMPLES = "/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-"
HEARD = {
    "0880": "he was not an illness those young man",
    "0930": "he might even have been made a real boy myself so",
}
CONFIG = dict(model="stt-rt-v5", audio_format="pcm_s16le", sample_rate=16000, num_channels=1)


def pcm_of(name):
    with wave.open(f"{SAMPLES}{name}.wav") as sample:
        return sample.readframes(sample.getnframes())


def numbered_cell(number):
    """numbered.h once more."""
    noise = (number * 2654435761 & 0xFFFFFFFF) | 1
    words = [0x524C, 0x5953, number & 0xFFFF, number >> 16]
    for _ in range(316):
        noise ^= noise << 13 & 0xFFFFFFFF
        noise ^= noise >> 17
        noise ^= noise << 5 & 0xFFFFFFFF
        words.append(noise >> 16)
    return struct.pack("<320H", *words)


def pieces(pcm, size=3840):
    return [pcm[at:at + size] for at in range(0, len(pcm), size)]


class Standin:
    def __init__(self, *arguments):
        self.process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
        self.port, self.control_port = re.match(r"listening (\d+) control (\d+)", self.process.stdout.readline()).groups()

    def options(self, key="standin-key"):
        return dict(api_key=key, api_base_url=f"http://127.0.0.1:{self.port}/v1",
                    websocket_base_url=f"ws://127.0.0.1:{self.port}/transcribe-websocket")

    def client(self, key="standin-key"):
        return SonioxClient(**self.options(key))

    def control(self, method, what, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.control_port}/control/{what}", method=method, data=data)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def log(self):
        return self.control("GET", "log")["connections"][-1]

    def stop(self):
        self.process.terminate()
        self.process.stdout.close()
        return self.process.wait(10)


class Case(unittest.TestCase):
    recogniser = "scripted"

    @classmethod
    def setUpClass(cls):
        cls.standin = Standin("--recogniser", cls.recogniser)

    @classmethod
    def tearDownClass(cls):
        code = cls.standin.stop()
        assert code == 0, f"soniox-standin ended with {code}"

    def setUp(self):
        self.standin.control("POST", "reset")

    def transcribe(self, pcm, **config):
        """Sends everything and returns the events up to the close."""
        with self.standin.client().realtime.stt.connect(config=RealtimeSTTConfig(**CONFIG, **config)) as session:
            session.send_bytes(iter(pieces(pcm)))
            return list(session.receive_events())


def text_of(events):
    return "".join(t.text for e in events for t in e.tokens if t.is_final and t.text not in ("<end>", "<fin>"))


class Speech(Case):
    recogniser = "sphinx"

    def test_words_and_events(self):
        pause = bytes(32000)
        events = self.transcribe(pcm_of("0880") + pause + pcm_of("0930") + pause, enable_endpoint_detection=True,
                                 enable_speaker_diarization=True, enable_language_identification=True, language_hints=["en"])
        self.assertEqual(text_of(events), " ".join(HEARD.values()))
        tokens = [t for e in events for t in e.tokens]
        self.assertEqual(sum(t.text == "<end>" for t in tokens), 2)
        self.assertTrue(all(t.speaker == "1" and t.language == "en" for t in tokens if t.text != "<end>"))
        self.assertTrue(events[-1].finished)
        self.assertEqual(sum(e.finished for e in events), 1)
        self.assertTrue(all("error_code" not in e.model_fields_set for e in events))
        self.assertEqual(self.standin.log()["auth"], "header")

    def test_async(self):
        async def main():
            client = AsyncSonioxClient(**self.standin.options())
            async with client.realtime.stt.connect(config=RealtimeSTTConfig(**CONFIG)) as session:
                for piece in pieces(pcm_of("0880")):
                    await session.send_byte_chunk(piece)
                await session.finish()
                return [event async for event in session.receive_events()]
        events = asyncio.run(main())
        self.assertEqual(text_of(events), HEARD["0880"])
        self.assertTrue(events[-1].finished)


class Protocol(Case):
    def test_pause_finalize_resume(self):
        with self.standin.client().realtime.stt.connect(config=RealtimeSTTConfig(**CONFIG)) as session:
            for number in range(30):
                session.send_byte_chunk(numbered_cell(number))
            session.pause()
            self.standin.control("GET", "wait?keepalives=1&limit_ms=20000")
            session.resume()
            for number in range(30, 40):
                session.send_byte_chunk(numbered_cell(number))
            session.finish()
            events = list(session.receive_events())
        self.assertEqual(text_of(events), "".join(f" n{i}" for i in range(40)))
        self.assertEqual([t.text for e in events for t in e.tokens if t.text == "<fin>"], ["<fin>"])
        log = self.standin.log()
        self.assertEqual(log["received"]["numbers"], [[0, 39]])
        self.assertEqual(log["received"]["finalizes"], 1)

    def test_errors_are_events(self):
        for fault, code in (({"code": 503}, 503), ({"code": 413}, 413), ({"type": "request_timeout"}, 408)):
            self.standin.control("POST", "faults", {"fault": "error", "at": {"audio_ms": 1000}, **fault})
            with self.standin.client().realtime.stt.connect(config=RealtimeSTTConfig(**CONFIG)) as session:
                for number in range(60):
                    session.send_byte_chunk(numbered_cell(number))
                events = list(session.receive_events())
            self.assertEqual(events[-1].error_code, code)
            self.assertEqual(events[-1].tokens, [])
        with self.standin.client("wrong-key").realtime.stt.connect(config=RealtimeSTTConfig(**CONFIG)) as session:
            self.assertEqual([e.error_code for e in session.receive_events()], [401])

    def test_rest(self):
        client = self.standin.client()
        models = {model.id: model for model in client.models.list().models}
        self.assertEqual(models["stt-rt-v5"].transcription_mode, "real_time")
        limits = client.concurrency_limits.get()
        self.assertEqual(limits.project.limits.transcribe_concurrent, 10)
        self.assertEqual(limits.organization.current.transcribe_concurrent, 0)

    def test_reset_is_a_reset(self):
        self.standin.control("POST", "faults", {"fault": "cut"})
        with socket.create_connection(("127.0.0.1", int(self.standin.port))) as raw:
            raw.sendall(b"GET /transcribe-websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        b"Authorization: Bearer standin-key\r\n\r\n")
            seen, until = b"", time.monotonic() + 20
            with self.assertRaises(ConnectionResetError):
                while time.monotonic() < until:
                    piece = raw.recv(4096)
                    self.assertNotEqual(piece, b"", "an orderly end")
                    seen += piece
        self.assertTrue(seen.endswith(b" cut") or seen == b"")


if __name__ == "__main__":
    unittest.main(verbosity=2)
