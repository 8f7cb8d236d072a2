// The official client of npm, used as its README shows: each event it is given as one line, and the code of each close.
// It does not connect again by itself, so this does.
//
//     node massive.mjs ws://HOST:PORT T.*,AM.*

import { websocketClient } from "../../tools/node_modules/@massive.com/client-js/dist/main.js";

const [address, subscriptions] = process.argv.slice(2);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

function open() {
  const socket = websocketClient("any", address).stocks();
  socket.onmessage = ({ data }) => {
    for (const event of JSON.parse(data)) {
      if (event.ev !== "status") {
        say(event);
      } else if (event.status === "auth_success") {
        socket.send(JSON.stringify({ action: "subscribe", params: subscriptions }));
      }
    }
  };
  socket.onerror = () => {};
  socket.onclose = ({ code }) => {
    // 1006: nobody listens yet.
    if (code !== 1006) say({ close: code });
    setTimeout(open, 100);
  };
}

open();
