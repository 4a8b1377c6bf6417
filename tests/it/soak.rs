//! Many comings and goings leave nothing behind.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::harness::{Daemon, eventually};

/// Opens a stream, sees that it is open, and leaves: most rudely, so that no port has to rest afterwards.
async fn come_and_go(daemon: &Daemon, number: u32) {
    let socket = TcpSocket::new_v4().expect("a socket");
    // From many addresses: one has too few ports for this.
    let from = [127, 0, 0, 1 + (number % 100) as u8];
    socket.bind((from, 0).into()).expect("an address of loopback");
    let mut socket = socket.connect(daemon.public).await.expect("a connection");
    let request = format!("GET /events?topic=t{}&topic=all HTTP/1.1\r\nhost: x\r\n\r\n", number % 1000);
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut got = Vec::new();
    while !got.ends_with(b"\n\n\r\n") {
        assert_ne!(socket.read_buf(&mut got).await.expect("more"), 0);
    }
    if !number.is_multiple_of(10) {
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("set");
    }
}

async fn come_and_go_often(daemon: &Daemon, from: u32, to: u32) {
    let next = std::sync::atomic::AtomicU32::new(from);
    let one_of_many = async || {
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number >= to {
                return;
            }
            come_and_go(daemon, number).await;
        }
    };
    tokio::join!(one_of_many(), one_of_many(), one_of_many(), one_of_many(), one_of_many(), one_of_many());
    eventually("all streams are closed", async || {
        (daemon.metric("sidestream_streams_open", &[]).await == 0.0).then_some(())
    })
    .await;
}

/// Memory of its own in KiB, and open descriptors. Pages of the program itself are shared with other tests' daemons,
/// and count for more when those end.
fn held(pid: u32) -> (u64, usize) {
    let memory = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("Linux");
    let pss = memory.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).expect("a line");
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("Linux").count();
    (pss.trim().trim_end_matches(" kB").parse().expect("a number"), descriptors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_streams_leave_nothing_behind() {
    let daemon = Daemon::start("").await;
    // What is allocated once is allocated by now.
    come_and_go_often(&daemon, 0, 10_000).await;
    let (memory, descriptors) = held(daemon.pid());
    come_and_go_often(&daemon, 10_000, 100_000).await;
    let opened = daemon.metric("sidestream_streams_opened_total", &[]).await;
    let closed = daemon.metric("sidestream_streams_closed_total", &[]).await;
    assert_eq!((opened, closed), (100_000.0, 100_000.0));
    eventually("all descriptors are closed", async || (held(daemon.pid()).1 <= descriptors).then_some(()))
        .await;
    let grown = held(daemon.pid()).0.saturating_sub(memory);
    assert!(
        grown < 4096,
        "{grown} KiB more than after the first ten thousand, which took {memory} KiB in all"
    );
}
