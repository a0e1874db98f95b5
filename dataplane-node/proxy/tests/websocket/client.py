"""Talks to an echo over HTTP/1.1: client.py HOST:PORT [idle | several | refused PATH STATUS]."""

import asyncio
import os
import sys

import websockets


async def refused(address, path, status):
    try:
        await websockets.connect(f"ws://{address}{path}")
    except websockets.InvalidStatusCode as error:
        assert error.status_code == int(status), error
        return
    raise AssertionError("it is not refused")


async def talk(websocket):
    for number in range(20):
        await websocket.send(f"message {number}" * 1_000)
        assert await websocket.recv() == f"message {number}" * 1_000


async def main():
    address, idle = sys.argv[1], sys.argv[2:] == ["idle"]
    if sys.argv[2:3] == ["refused"]:
        return await refused(address, *sys.argv[3:])
    if sys.argv[2:] == ["several"]:
        there = [await websockets.connect(f"ws://{address}/chat") for _ in range(20)]
        await asyncio.gather(*map(talk, there))
        await asyncio.gather(*(websocket.close() for websocket in there))
        return
    connecting = websockets.connect(
        f"ws://{address}/chat",
        max_size=None,
        subprotocols=["chat"],
        ping_interval=None,
    )
    async with connecting as websocket:
        assert websocket.subprotocol == "chat", websocket.subprotocol
        if idle:
            await websocket.wait_closed()
            # Nobody has said that it ends.
            assert websocket.close_code == 1006, websocket.close_code
            return
        for message in ["text", "", "\u00fc" * 40_000, b"", os.urandom(3_000_001)]:
            await websocket.send(message)
            assert await websocket.recv() == message
        # In several frames.
        await websocket.send(["a", "b", "c"])
        assert await websocket.recv() == "abc"
        await (await websocket.ping())
    assert websocket.close_code == 1000, websocket.close_code


asyncio.run(asyncio.wait_for(main(), 20))
print("good")
