"""Talks to an echo over HTTP/2, RFC 8441: client_http2.py HOST:PORT [idle | several | refused PATH STATUS]."""

import os
import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

STREAM = 1


class Client:
    def __init__(self, address, path="/chat"):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.http2 = h2.connection.H2Connection(config)
        self.websocket = Connection(ConnectionType.CLIENT)
        self.head, self.may_connect, self.is_reset, self.is_over = None, False, False, False
        self.http2.initiate_connection()
        self.flush()
        while not self.may_connect:
            self.read()
        fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", path),
            (":authority", address),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
        ]
        self.http2.send_headers(STREAM, fields)
        self.flush()
        while self.head is None:
            self.read()

    def is_open(self):
        assert self.head[":status"] == "200", self.head
        assert self.head["sec-websocket-protocol"] == "chat", self.head
        assert "sec-websocket-accept" not in self.head, self.head

    def flush(self):
        self.socket.sendall(self.http2.data_to_send())

    def read(self):
        data = self.socket.recv(65_536)
        assert data, "the connection is closed"
        for event in self.http2.receive_data(data):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                code = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
                changed = event.changed_settings.get(code)
                self.may_connect = changed is not None and changed.new_value == 1
            elif isinstance(event, h2.events.ResponseReceived):
                self.head = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                if event.data:
                    self.websocket.receive_data(event.data)
                length = event.flow_controlled_length
                self.http2.acknowledge_received_data(length, STREAM)
            elif isinstance(event, h2.events.StreamReset):
                self.is_reset = True
            elif isinstance(event, h2.events.StreamEnded):
                self.is_over = True
        self.flush()

    def send(self, event):
        data = self.websocket.send(event)
        while data:
            window = self.http2.local_flow_control_window(STREAM)
            room = min(window, self.http2.max_outbound_frame_size, len(data))
            if room == 0:
                self.read()
                continue
            self.http2.send_data(STREAM, data[:room])
            self.flush()
            data = data[room:]

    def message(self):
        """The next one, whole, or an event of another kind."""
        parts = []
        while True:
            for event in self.websocket.events():
                if not isinstance(event, (BytesMessage, TextMessage)):
                    return event
                parts.append(event.data)
                if event.message_finished:
                    return (b"" if isinstance(event, BytesMessage) else "").join(parts)
            self.read()


def main():
    if sys.argv[2:3] == ["refused"]:
        path, status = sys.argv[3:]
        client = Client(sys.argv[1], path)
        assert client.head[":status"] == status, client.head
        while not client.is_over:
            client.read()
        return
    if sys.argv[2:] == ["several"]:
        for client in [Client(sys.argv[1]) for _ in range(20)]:
            client.is_open()
            client.send(TextMessage(data="message" * 1_000))
            assert client.message() == "message" * 1_000
        return
    client = Client(sys.argv[1])
    client.is_open()
    if sys.argv[2:] == ["idle"]:
        while not client.is_reset:
            client.read()
        return
    for message in ["text", "", "\u00fc" * 40_000, b"", os.urandom(3_000_001)]:
        kind = TextMessage if isinstance(message, str) else BytesMessage
        client.send(kind(data=message))
        assert client.message() == message
    for part in "abc":
        client.send(TextMessage(data=part, message_finished=part == "c"))
    assert client.message() == "abc"
    client.send(Ping(payload=b"there?"))
    assert client.message() == Pong(payload=b"there?")
    client.send(CloseConnection(code=1000))
    assert client.message().code == 1000
    while not client.is_over:
        client.read()


main()
print("good")
