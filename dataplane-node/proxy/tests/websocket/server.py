"""Gives every message back; prints the port that it listens at."""

import asyncio

import websockets


async def echo(websocket):
    try:
        async for message in websocket:
            await websocket.send(message)
    except websockets.ConnectionClosedError:
        # As some clients of the tests are to be.
        pass


async def main():
    serving = websockets.serve(
        echo, "127.0.0.1", 0, max_size=None, subprotocols=["chat"], ping_interval=None
    )
    async with serving as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
