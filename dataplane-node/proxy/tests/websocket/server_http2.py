"""Gives every message back over HTTP/2, RFC 8441; prints the port that it listens at: server_http2.py [unable]."""

import socket
import sys
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage


class Server:
    """A connection of a client."""

    def __init__(self, connection, is_able):
        self.socket = connection
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.http2 = h2.connection.H2Connection(config)
        if is_able:
            code = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
            self.http2.local_settings = h2.settings.Settings(
                client=False, initial_values={code: 1}
            )
        self.websockets = {}
        # What waits for room at the client, and whether the end is behind it.
        self.waiting, self.ending = {}, set()

    def serve(self):
        self.http2.initiate_connection()
        self.flush()
        while data := self.socket.recv(65_536):
            try:
                events = self.http2.receive_data(data)
            except h2.exceptions.ProtocolError:
                # HTTP/1.1, for one.
                self.flush()
                break
            for event in events:
                self.see(event)
            self.flush()
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.http2.data_to_send())

    def see(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.begin(event)
        elif isinstance(event, h2.events.DataReceived):
            length = event.flow_controlled_length
            if length:
                self.http2.acknowledge_received_data(length, event.stream_id)
            if event.stream_id in self.websockets and event.data:
                self.hear(event.stream_id, event.data)
        elif isinstance(event, h2.events.StreamEnded):
            if event.stream_id in self.websockets:
                self.send(event.stream_id, b"", ends=True)
        elif isinstance(event, h2.events.StreamReset):
            self.waiting.pop(event.stream_id, None)
            self.websockets.pop(event.stream_id, None)
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            for stream in list(self.waiting):
                self.drain(stream)

    def begin(self, event):
        fields, stream = dict(event.headers), event.stream_id
        path = fields[":path"]
        if fields[":method"] != "CONNECT":
            self.http2.send_headers(stream, [(":status", "200")])
            self.send(stream, b"plain\n", ends=True)
            return
        assert fields[":protocol"] == "websocket", fields
        assert fields["sec-websocket-version"] == "13", fields
        assert "sec-websocket-key" not in fields and "upgrade" not in fields, fields
        if path == "/forbidden":
            self.http2.send_headers(stream, [(":status", "403"), ("content-length", "3")])
            self.send(stream, b"no\n", ends=True)
            return
        answer = [(":status", "200")]
        if "sec-websocket-protocol" in fields:
            answer.append(("sec-websocket-protocol", fields["sec-websocket-protocol"]))
        self.http2.send_headers(stream, answer)
        if path == "/reset":
            self.http2.reset_stream(stream)
        elif path == "/early":
            # The rest is for the client to say, and is not answered.
            self.send(stream, b"early", ends=True)
        else:
            self.websockets[stream] = Connection(ConnectionType.SERVER)

    def hear(self, stream, data):
        websocket = self.websockets[stream]
        websocket.receive_data(data)
        for event in websocket.events():
            if isinstance(event, (BytesMessage, TextMessage)):
                kind = type(event)
                echo = kind(
                    data=event.data,
                    frame_finished=event.frame_finished,
                    message_finished=event.message_finished,
                )
                self.send(stream, websocket.send(echo))
            elif isinstance(event, Ping):
                self.send(stream, websocket.send(event.response()))
            elif isinstance(event, CloseConnection):
                self.send(stream, websocket.send(event.response()))
                self.send(stream, b"", ends=True)

    def send(self, stream, data, ends=False):
        self.waiting.setdefault(stream, bytearray()).extend(data)
        if ends:
            self.ending.add(stream)
        self.drain(stream)

    def drain(self, stream):
        waiting = self.waiting[stream]
        while waiting:
            window = self.http2.local_flow_control_window(stream)
            room = min(window, self.http2.max_outbound_frame_size, len(waiting))
            if room <= 0:
                return
            self.http2.send_data(stream, bytes(waiting[:room]))
            del waiting[:room]
        if stream in self.ending:
            self.ending.remove(stream)
            del self.waiting[stream]
            self.websockets.pop(stream, None)
            self.http2.end_stream(stream)


def main():
    is_able = sys.argv[1:] != ["unable"]
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=Server(connection, is_able).serve, daemon=True).start()


main()
