use std::time::Duration;

use tokio::time::sleep;

use super::*;
use crate::config;
use crate::health::{Health, ReadyFor, State as Standing};
use crate::log::{Log, Retention};
use crate::redis::channels::subscriptions::Channels;
use crate::redis::double::{Double, Peer, TIMING, eventually, nobody, within};

/// A subscription that runs.
struct Running {
    log: Arc<Log>,
    health: Health,
    listening: Arc<AtomicBool>,
    drain: Drain,
}

impl Running {
    fn start(address: crate::redis::client::url::Address, timing: Timing) -> Self {
        let age = Duration::from_secs(600);
        let log =
            Arc::new(Log::new(Retention { events: 10_000, bytes: 10 << 20, age, idempotency_window: age }));
        let channels = Channels::new(&config::Redis::at(config::Secret::new("redis://h")));
        let health = Health::default();
        let drain = Drain::new();
        let ingest = Ingest::new(channels, Arc::clone(&log), Arc::new(|_| false), None);
        let subscription = ChannelSubscriber::new(Arc::new(Endpoint::at(address)), timing, 1000, ingest);
        let listening = subscription.listening();
        drain.spawn(subscription.run(health.depend_on("redis", true), drain.clone()));
        Self { log, health, listening, drain }
    }

    /// Waits until it is down, and says why.
    async fn down(&self) -> String {
        let mut why = String::new();
        eventually("it is down", || match &self.health.dependencies(ReadyFor::Events)["redis"].state {
            Standing::Down(said) => {
                why.clone_from(said);
                true
            }
            _ => false,
        })
        .await;
        assert!(!self.listening.load(Ordering::Acquire));
        why
    }

    async fn up(&self) {
        eventually("it is up", || self.health.is_ready(ReadyFor::Events)).await;
        assert!(self.listening.load(Ordering::Acquire));
    }

    async fn events(&self, count: usize) {
        eventually("the events are in the log", || self.log.size().0 == count).await;
    }

    async fn stop(self) {
        self.drain.start();
        within("it stops", self.drain.finished()).await;
    }
}

async fn message(peer: &mut Peer) {
    peer.say(b"*3\r\n$7\r\nmessage\r\n$10\r\nsidestream\r\n$13\r\n{\"topic\":\"a\"}\r\n").await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_and_tried_again() {
    let double = Double::start().await;
    let running = Running::start(double.address(""), TIMING);
    let mut silent = double.accept().await;
    silent.expect("CLIENT").await;
    let why = running.down().await;
    assert!(why.contains("did not answer within 300ms (the first ping)"), "{why}");
    silent.ended().await;
    // The next attempt finds it well.
    let mut peer = double.accept().await;
    peer.subscribe().await;
    running.up().await;
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_never_answers_a_subscription_is_left_and_tried_again() {
    let double = Double::start().await;
    let running = Running::start(double.address(""), TIMING);
    let mut silent = double.accept().await;
    silent.welcome().await;
    silent.ended().await;
    let why = running.down().await;
    assert!(why.contains("(subscribing)"), "{why}");
    let mut peer = double.accept().await;
    peer.subscribe().await;
    running.up().await;
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_no_longer_answers_its_pings_is_replaced() {
    let double = Double::start().await;
    let running = Running::start(double.address(""), TIMING);
    let mut first = double.accept().await;
    first.subscribe().await;
    running.up().await;
    message(&mut first).await;
    running.events(1).await;
    for _ in 0..3 {
        first.expect("PING").await;
        first.pong().await;
    }
    first.expect("PING").await;
    let why = running.down().await;
    assert!(why.contains("(the watchdog's ping)"), "{why}");
    first.ended().await;

    let mut second = double.accept().await;
    second.subscribe().await;
    running.up().await;
    message(&mut second).await;
    running.events(2).await;
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_delivers_is_alive_however_late_its_pong() {
    let double = Double::start().await;
    let running = Running::start(double.address(""), TIMING);
    let mut peer = double.accept().await;
    peer.subscribe().await;
    running.up().await;
    peer.expect("PING").await;
    let mut sent = 0;
    let start = Instant::now();
    while start.elapsed() < 4 * TIMING.timeout {
        message(&mut peer).await;
        sent += 1;
        sleep(TIMING.timeout / 10).await;
    }
    peer.pong().await;
    // Had it been dropped, this would be the end of the connection.
    peer.expect("PING").await;
    running.events(sent).await;
    assert!(running.health.is_ready(ReadyFor::Events));
    running.stop().await;
}

#[tokio::test]
async fn messages_between_the_confirmations_are_delivered() {
    let double = Double::start().await;
    let running = Running::start(double.address(""), TIMING);
    let mut peer = double.accept().await;
    peer.welcome().await;
    peer.say(b"*3\r\n$9\r\nsubscribe\r\n$10\r\nsidestream\r\n:1\r\n").await;
    message(&mut peer).await;
    running.events(1).await;
    assert!(!running.health.is_ready(ReadyFor::Events), "not everything is subscribed");
    peer.say(b"*3\r\n$10\r\npsubscribe\r\n$18\r\nsidestream:topic:*\r\n:2\r\n").await;
    peer.pong().await;
    running.up().await;
    running.stop().await;
}

#[tokio::test]
async fn what_came_before_the_end_of_the_connection_is_delivered() {
    let double = Double::start().await;
    let running = Running::start(double.address(""), TIMING);
    let mut peer = double.accept().await;
    peer.subscribe().await;
    running.up().await;
    message(&mut peer).await;
    message(&mut peer).await;
    // Out of step: the connection is dropped, the messages are not.
    peer.say(b":1\r\n").await;
    peer.ended().await;
    running.events(2).await;
    let why = running.down().await;
    assert!(why.contains("nobody asked for"), "{why}");
    running.stop().await;
}

#[tokio::test]
async fn refusals_are_said_without_the_password() {
    for (answer, said) in [
        ("-WRONGPASS invalid username-password pair or user is disabled.\r\n", "WRONGPASS"),
        (
            "-ERR unknown command 'AUTH', with args beginning with: 'app' 'hunter2'\r\n",
            "user and password: ERR",
        ),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "no Redis"),
    ] {
        let double = Double::start().await;
        let running = Running::start(double.address("app:hunter2@"), TIMING);
        let mut peer = double.accept().await;
        assert_eq!(peer.expect("AUTH").await, ["AUTH", "app", "hunter2"]);
        peer.say(answer.as_bytes()).await;
        let why = running.down().await;
        assert!(why.contains(said) && !why.contains("hunter2"), "{why}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_refused_subscription_is_a_failure() {
    let double = Double::start().await;
    let running = Running::start(double.address(""), TIMING);
    let mut peer = double.accept().await;
    peer.welcome().await;
    peer.say(b"-NOPERM No permissions to access a channel\r\n").await;
    let why = running.down().await;
    assert!(why.contains("Redis refused the subscriptions: NOPERM"), "{why}");
    running.stop().await;
}

#[tokio::test]
async fn a_user_who_may_not_name_its_connection_is_welcome() {
    let double = Double::start().await;
    let running = Running::start(double.address(""), TIMING);
    let mut peer = double.accept().await;
    peer.say(b"-NOPERM no client command for you\r\n+PONG\r\n").await;
    peer.expect("CLIENT").await;
    peer.expect("PING").await;
    peer.expect("SUBSCRIBE").await;
    running.stop().await;
}

#[tokio::test]
async fn it_stops_while_it_waits_for_an_answer_and_while_it_pauses() {
    let slow = Timing {
        timeout: Duration::from_secs(600),
        max_backoff: Duration::from_secs(600),
        ping_interval: Duration::from_secs(600),
    };
    let double = Double::start().await;
    let running = Running::start(double.address(""), slow);
    let mut peer = double.accept().await;
    peer.expect("CLIENT").await;
    running.stop().await;

    let (_socket, address) = nobody();
    let running = Running::start(address, slow);
    let why = running.down().await;
    assert!(why.starts_with("cannot connect to Redis at 127.0.0.1:"), "{why}");
    running.stop().await;
}
