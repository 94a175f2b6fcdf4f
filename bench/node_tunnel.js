// SPDX-License-Identifier: MIT
// Stand-in for the Node sample through a relay: app -> connect =wss=> relay <=wss= listen -> app, three Node processes.
//   node wstunnel3.js relay PORT KEY CERT | listen RELAYPORT TARGETPORT | connect PORT RELAYPORT
// Set-up as Azure Relay's: control channel, id to the listener, rendezvous dial, then the sender's 101.
// Streams with back-pressure on every leg; permessage-deflate off; TLS 1.3, AES-128-GCM.
'use strict';
const net = require('net'), https = require('https'), WebSocket = require('ws');
const [role, a1, a2, a3] = process.argv.slice(2);
const tls = { rejectUnauthorized: false, minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256' };
const opt = { ...tls, perMessageDeflate: false, maxPayload: 1 << 24 };
const join = (a, b) => {
  a.on('error', () => b.destroy()); b.on('error', () => a.destroy());
  a.on('close', () => b.destroy()); b.on('close', () => a.destroy());
  a.pipe(b); b.pipe(a);
};
const stream = (ws) => WebSocket.createWebSocketStream(ws, { highWaterMark: 65536 });
if (role === 'relay') {
  const fs = require('fs');
  const srv = https.createServer({ key: fs.readFileSync(a2), cert: fs.readFileSync(a3), minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256' });
  const wss = new WebSocket.Server({ noServer: true, perMessageDeflate: false, maxPayload: 1 << 24 });
  const wait = new Map(); let ctl = null, ids = 0;
  srv.on('upgrade', (req, sock, head) => {
    sock.setNoDelay(true);
    if (req.url === '/control') wss.handleUpgrade(req, sock, head, (ws) => { ctl = ws; });
    else if (req.url.startsWith('/rv/')) {
      const w = wait.get(req.url.slice(4)); wait.delete(req.url.slice(4));
      if (!w) return sock.destroy();
      wss.handleUpgrade(req, sock, head, (l) => wss.handleUpgrade(w.req, w.sock, w.head, (c) => join(stream(l), stream(c))));
    } else if (ctl) { const id = String(++ids); wait.set(id, { req, sock, head }); ctl.send(id); } else sock.destroy();
  });
  srv.listen(+a1, '127.0.0.1', 4096);
} else if (role === 'listen') {
  const ctl = new WebSocket(`wss://127.0.0.1:${a1}/control`, opt);
  ctl.on('message', (m) => {
    const ws = new WebSocket(`wss://127.0.0.1:${a1}/rv/${m}`, opt);
    const app = net.connect({ host: '127.0.0.1', port: +a2, noDelay: true });
    app.on('error', () => ws.terminate()); ws.on('error', () => app.destroy());
    ws.on('open', () => { ws._socket.setNoDelay(true); join(stream(ws), app); });
  });
} else if (role === 'connect') {
  net.createServer({ pauseOnConnect: true, noDelay: true }, (app) => {
    const ws = new WebSocket(`wss://127.0.0.1:${a2}/hc`, opt);
    app.on('error', () => ws.terminate()); ws.on('error', () => app.destroy());
    ws.on('open', () => { ws._socket.setNoDelay(true); join(stream(ws), app); app.resume(); });
  }).listen(+a1, '127.0.0.1', 4096);
}
