//! The dashboard's page in Chromium: by hand, by keys, with hostile names, on a phone; and what axe-core says of it.

use serde_json::json;

use super::{ACT, READ, config};
use crate::harness::{Browser, Daemon, SECRET, Stream, request, token_of};

/// The size of the window and the colour scheme from now on; nothing scrolls sideways.
async fn look(browser: &mut Browser, width: u32, height: u32, scheme: &str) {
    // What fades in has its colours at once.
    browser.prefer(scheme, "reduce").await;
    browser.size(width, height).await;
}

/// A browser that has signed in and shows `view`.
async fn opened(daemon: &Daemon, key: &str, view: &str) -> Browser {
    let mut browser = Browser::start();
    look(&mut browser, 1280, 800, "light").await;
    browser.open(&format!("http://{}/#/{view}", daemon.internal)).await;
    browser.wait("#key").await;
    browser.fill("#key", key).await;
    browser.press("Enter").await;
    browser.wait(".tabs").await;
    browser
}

/// Nothing went wrong in the page, no policy was breached, and nobody else was asked.
async fn is_clean(browser: &mut Browser) {
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_person_signs_in_sees_numbers_move_publishes_and_closes_a_stream() {
    let daemon = Daemon::start(&config()).await;
    let mut browser = opened(&daemon, ACT, "streams").await;
    browser.until("document.querySelector('.sentence').innerText.includes('0 streams')").await;
    browser.wait(".empty pre").await;
    let mut stream = Stream::open(daemon.public, "/events?userId=u1&topic=news", &[]).await;
    stream.block().await;
    browser.until("document.querySelector('[data-chart=streams] .lead').innerText.startsWith('1')").await;
    browser.until("document.querySelectorAll('[role=gridcell] .name')[0]?.innerText === 'u1'").await;

    browser.press("p").await;
    browser.wait("#whom").await;
    browser.fill("#whom", "news").await;
    browser.fill("#data", "{\"text\": \"from the page\"").await;
    browser.until("document.querySelector('#json').innerText.startsWith('Not JSON')").await;
    browser.fill("#data", "{\"text\": \"from the page\"}").await;
    for (language, word) in
        [("Node", "fetch("), ("Python", "urllib"), ("PHP", "curl_init"), ("redis-cli", "PUBLISH")]
    {
        browser.select("#language", language).await;
        browser.until(&format!("document.querySelector('.code pre').textContent.includes('{word}')")).await;
    }
    browser.click("#send").await;
    assert_eq!(stream.event().await.json(), json!({ "text": "from the page" }));
    browser.until("/^.*id .*1 stream on this instance; 1 of 1 have it/.test(document.querySelector('#result').innerText)").await;

    browser.press("Escape").await;
    browser.press("1").await;
    browser.until("document.querySelectorAll('[role=gridcell] .name')[0]?.innerText === 'u1'").await;
    browser.press("j").await;
    browser.press("Enter").await;
    browser.wait("dialog .danger").await;
    browser.click("dialog .danger").await;
    browser.select("#away", "10m").await;
    browser.click("#really").await;
    assert_eq!(stream.event().await.json()["reason"], "sent_away");
    browser
        .until("document.querySelector('dialog').innerText.includes('1 stream closed. Refused until')")
        .await;
    browser.press("Escape").await;
    let again = request(daemon.public, "GET", "/events?userId=u1&topic=news", &[], b"").await;
    assert_eq!(again.status, 204, "they are kept out");
    is_clean(&mut browser).await;
}

#[tokio::test]
async fn a_wrong_key_is_said_to_be_wrong_and_a_read_key_cannot_act() {
    let daemon = Daemon::start(&config()).await;
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", daemon.internal)).await;
    browser.wait("#key").await;
    browser.fill("#key", "not-a-key-0123456789").await;
    browser.click(".sign-in .primary").await;
    browser
        .until("document.querySelector('.error').innerText.startsWith('This is none of dashboard.keys')")
        .await;
    browser.fill("#key", READ).await;
    browser.click(".sign-in .primary").await;
    browser.wait(".tabs").await;
    browser.press("p").await;
    browser.until("document.querySelector('#send')?.disabled === true").await;
    // The sign-in stays over a reload, and ends by the button.
    browser.open(&format!("http://{}/#/users", daemon.internal)).await;
    browser.wait(".tabs").await;
    browser.click("#sign-out").await;
    browser.wait("#key").await;
}

#[tokio::test]
async fn a_topic_is_watched_live_and_every_number_leads_to_what_it_counts() {
    let daemon = Daemon::start(&config()).await;
    let mut browser = opened(&daemon, READ, "topics").await;
    browser.wait(".empty").await;
    let mut stream = Stream::open(daemon.public, "/events?userId=u1&topic=news", &[]).await;
    stream.block().await;
    browser.until("document.querySelector('[role=gridcell] .name')?.innerText === 'news'").await;
    browser.press("j").await;
    browser.press("Enter").await;
    browser
        .until("document.querySelector('[aria-label=\"A topic, live\"] .state')?.innerText === 'live'")
        .await;
    daemon.publish(&json!({ "topic": "news", "event": "one", "data": { "n": 1 } })).await;
    browser.shows(".events b", &["one".to_owned()]).await;
    daemon.publish(&json!({ "topic": "news", "event": "two", "data": "text" })).await;
    browser.shows(".events b", &["two".to_owned(), "one".to_owned()]).await;
    browser.shows(".events .data", &["text".to_owned(), "{ \"n\": 1 }".to_owned()]).await;
    browser.until("document.querySelector('.events .about').innerText.includes('1 reader')").await;
    // From the topic to its streams, from a chart to its streams, from a refusal to its reason.
    browser.click("[aria-label=\"A topic, live\"] a").await;
    browser.until("location.hash === '#/streams?q=topic%3Anews' && document.querySelectorAll('[role=gridcell] .name')[0]?.innerText === 'u1'").await;
    request(daemon.public, "GET", "/private?topic=a", &[], b"").await;
    browser
        .until("document.querySelector('.problems')?.innerText.includes('1 stream refused: no_token')")
        .await;
    browser.click(".problems a").await;
    browser.until("document.querySelector('tr.at code')?.innerText === 'no_token'").await;
    is_clean(&mut browser).await;
}

#[tokio::test]
async fn why_somebody_hears_nothing_is_walked_from_token_to_delivery() {
    let daemon = Daemon::start(&config()).await;
    let mut browser = opened(&daemon, READ, "why?user=u1").await;
    let says = |words: &str| format!("document.querySelector('.steps').innerText.includes('{words}')");
    browser.until(&says("None on any instance.")).await;
    let mut stream = Stream::open(daemon.public, "/events?userId=u1&topic=news", &[]).await;
    stream.block().await;
    daemon.publish(&json!({ "topic": "news", "data": 1 })).await;
    stream.event().await;
    browser.click("main form .primary").await;
    browser.until(&says("1 event written to these streams")).await;
    let token = token_of(SECRET, &json!({ "sub": "u2", "topics": ["chat:*"] }));
    browser.fill("#filter", &token).await;
    browser.press("Enter").await;
    browser.until(&says("It grants chat:*.")).await;
    browser.until(&says("None on any instance.")).await;
    assert!(!browser.evaluate("location.href").await.as_str().expect("text").contains(&token[..10]));
    browser.fill("#filter", &token_of("another-secret-0123456789abcdef0123", &json!({ "sub": "u2" }))).await;
    browser.press("Enter").await;
    browser.until(&says("bad_signature")).await;
    is_clean(&mut browser).await;
}

#[tokio::test]
async fn hostile_names_and_data_are_shown_and_do_nothing() {
    let daemon = Daemon::start(&config()).await;
    let long = "t".repeat(200);
    let names = ["<script>document.title = 1</script>", "\u{202e}عرب", "🙂".repeat(40).as_str(), &long]
        .map(str::to_owned);
    let mut streams = Vec::new();
    for name in &names {
        let name = form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>();
        streams.push(daemon.stream(&format!("/events?userId={name}&topic={name}")).await);
    }
    daemon.publish(&json!({ "topic": names[0], "event": "<img src=x onerror=alert(1)>", "data": "<script>alert(1)</script>" })).await;
    daemon.publish(&json!({ "topic": names[0], "data": "<b>".repeat(300_000) })).await;
    let mut browser = opened(&daemon, ACT, "streams").await;
    for (width, height) in [(1280, 800), (375, 812)] {
        look(&mut browser, width, height, "dark").await;
        let topic: String = form_urlencoded::byte_serialize(names[0].as_bytes()).collect();
        for view in
            ["streams", "users", "topics", &format!("topics?open={topic}"), &format!("why?user={topic}")]
        {
            browser.evaluate(&format!("location.hash = '#/{view}'")).await;
            let shown = if view.starts_with("why") { ".steps .name" } else { "[role=gridcell] .name" };
            browser
                .until(&format!(
                    "[...document.querySelectorAll('{shown}')].some((one) => one.textContent === '{}')",
                    names[0].replace("</", "<\\/")
                ))
                .await;
            browser.until("document.documentElement.scrollWidth <= innerWidth").await;
        }
        browser.evaluate(&format!("location.hash = '#/topics?open={topic}'")).await;
        browser.shows(".events b", &["message".to_owned(), "<img src=x onerror=alert(1)>".to_owned()]).await;
    }
    assert_eq!(browser.evaluate("document.querySelectorAll('main script, main img').length").await, json!(0));
    is_clean(&mut browser).await;
}

#[tokio::test]
async fn of_many_streams_only_those_are_drawn_that_are_to_be_seen() {
    let daemon = Daemon::start(&format!("{}[limits]\nstreams_per_address = 2000\n", config())).await;
    let mut streams = Vec::new();
    for nth in 0..1200 {
        streams.push(daemon.stream(&format!("/events?userId=user-{nth:04}&topic=a")).await);
    }
    let mut browser = opened(&daemon, READ, "streams?sort=user").await;
    browser.until("document.querySelector('[role=grid]')?.getAttribute('aria-rowcount') === '1201'").await;
    browser.until("document.querySelectorAll('[data-at]').length < 100").await;
    browser.evaluate("document.querySelector('[role=grid]').focus()").await;
    browser.press("End").await;
    browser.until("document.querySelector('[role=row].at .name')?.innerText === 'user-1199'").await;
    browser.press("/").await;
    browser.fill("#filter", "user-07").await;
    browser.until("document.querySelector('[role=grid]').getAttribute('aria-rowcount') === '101'").await;
    browser.fill("#filter", "user:user-0007").await;
    browser.until("document.querySelector('[role=grid]').getAttribute('aria-rowcount') === '2'").await;
    assert_eq!(browser.evaluate("location.hash").await, json!("#/streams?sort=user&q=user%3Auser-0007"));
    is_clean(&mut browser).await;
}

#[tokio::test]
async fn it_says_when_it_is_not_live_and_goes_on_by_itself() {
    let mut daemon = Daemon::start(&config()).await;
    let address = daemon.internal;
    let mut browser = opened(&daemon, READ, "streams").await;
    browser.until("document.querySelector('.sentence')?.innerText.includes('All well')").await;
    daemon.signal("TERM");
    daemon.ended().await;
    browser.until("document.querySelector('.sentence').innerText.startsWith('Not live since') && document.body.classList.contains('stale')").await;
    browser.until("document.querySelector('[data-chart=streams] .lead').innerText.startsWith('0')").await;
    let listen = [("SIDESTREAM_INTERNAL_LISTEN", address.to_string())];
    let listen = listen.each_ref().map(|(name, value)| (*name, value.as_str()));
    let _again = Daemon::start_with(&config(), &listen).await;
    browser.until("document.querySelector('.sentence').innerText.includes('All well')").await;
    assert_eq!(
        browser.evaluate("document.querySelector('#key') === null").await,
        json!(true),
        "still signed in"
    );
}

#[tokio::test]
async fn keys_reach_everything_and_axe_finds_nothing_serious() {
    let daemon = Daemon::start(&config()).await;
    let _streams = [
        daemon.stream("/events?userId=u1&topic=news").await,
        daemon.stream("/events?userId=u2&topic=news").await,
    ];
    request(daemon.public, "GET", "/private?topic=a", &[], b"").await;
    daemon.publish(&json!({ "topic": "news", "data": { "n": 1 } })).await;
    let mut browser = Browser::start();
    look(&mut browser, 1280, 800, "light").await;
    browser.open(&format!("http://{}/#/streams", daemon.internal)).await;
    browser.wait("#key").await;
    browser.is_accessible().await;
    browser.fill("#key", ACT).await;
    browser.press("Enter").await;
    browser.until("document.querySelector('.problems')?.hidden === false").await;
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (375, "light"), (375, "dark")] {
        look(&mut browser, width, 812, scheme).await;
        for (key, there) in [
            ("1", "document.querySelectorAll('[role=gridcell]').length > 0"),
            ("2", "document.querySelectorAll('[role=gridcell]').length > 0"),
            ("3", "document.querySelectorAll('[role=gridcell]').length > 0"),
            ("4", "document.querySelector('#send') !== null"),
            ("5", "document.querySelectorAll('.reasons tr').length > 1"),
            ("6", "document.querySelectorAll('.cards .card').length > 0"),
            ("7", "document.querySelectorAll('.settings dt').length > 20"),
        ] {
            browser.press(key).await;
            browser.until(there).await;
            browser.until("document.documentElement.scrollWidth <= innerWidth").await;
            browser.is_accessible().await;
        }
    }
    for (key, shown) in [("t", ".numbers:not([hidden]) td"), ("?", "dialog kbd")] {
        browser.press(key).await;
        browser.wait(shown).await;
        browser.is_accessible().await;
    }
    browser.press("Escape").await;
    browser.press("2").await;
    browser.until("document.querySelectorAll('[role=gridcell]').length > 0").await;
    browser.press("j").await;
    browser.press("Enter").await;
    browser.wait(".events li").await;
    browser.is_accessible().await;
    is_clean(&mut browser).await;
}
