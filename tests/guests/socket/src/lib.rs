//! A plugin that tries to open sockets: its component imports `wasi:sockets`, and a host gives it none.

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_plugin_sdk::{Context, Failure, Tool};

/// Opens sockets.
struct OpenSocket;

/// Where to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Address {
    /// Host and port, such as `127.0.0.1:7301`.
    address: String,
}

/// What became of each attempt: `open`, or the error.
#[derive(Serialize, JsonSchema)]
struct Attempts {
    connect_tcp: String,
    listen_tcp: String,
    send_udp: String,
    look_up: String,
}

impl Tool for OpenSocket {
    const NAME: &'static str = "open_socket";
    const DESCRIPTION: &'static str = "Tries to open sockets of each kind, and tells what became of it.";
    type Input = Address;
    type Output = Attempts;

    fn call(Address { address }: Address, _: &Context) -> Result<Attempts, Failure> {
        let send = || UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", address.as_str());
        Ok(Attempts {
            connect_tcp: tell(TcpStream::connect(address.as_str())),
            listen_tcp: tell(TcpListener::bind("127.0.0.1:0")),
            send_udp: tell(send()),
            look_up: tell(("localhost", 80).to_socket_addrs()),
        })
    }
}

fn tell<T>(attempt: std::io::Result<T>) -> String {
    attempt.map_or_else(|error| error.to_string(), |_| "open".to_owned())
}

tidegate_plugin_sdk::export!(OpenSocket);
