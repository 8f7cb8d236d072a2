// A dashboard with the `ws` package of npm: sends each line of its input, prints each message it is sent as one line.
//
//     node legend.mjs ws://HOST:PORT/api/ws

import { createInterface } from "node:readline";
import WebSocket from "../../tools/node_modules/ws/wrapper.mjs";

const socket = new WebSocket(process.argv[2]);
socket.on("message", (data) => process.stdout.write(data + "\n"));
socket.on("error", (error) => process.stderr.write(error.message + "\n"));
socket.on("open", () => createInterface({ input: process.stdin }).on("line", (line) => socket.send(line)));
