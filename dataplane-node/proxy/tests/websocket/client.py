"""Talks to an echo over HTTP/1.1: client.py HOST:PORT [idle]."""

import asyncio
import os
import sys

import websockets


async def main():
    address, idle = sys.argv[1], sys.argv[2:] == ["idle"]
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
