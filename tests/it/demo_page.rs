//! The demo's page in Chromium: what two people see, the acts, and how it looks to those who see or move less.

use crate::demo::{Demo, shell};
use crate::harness::{Browser, eventually};

/// Where messages stand, without the small print.
fn messages(user: &str) -> String {
    format!(".phone[data-user={user}] .messages li:not(.note) p")
}

fn phone(user: &str, part: &str) -> String {
    format!(".phone[data-user={user}] {part}")
}

fn button(reader: &str, act: &str) -> String {
    format!(".branch[data-reader={reader}] [data-act={act}]")
}

async fn connected(browser: &mut Browser, users: &[&str]) {
    for user in users {
        browser.wait(&phone(user, ".line.good")).await;
    }
}

async fn opened(demo: &Demo) -> Browser {
    let mut browser = Browser::start();
    browser.open(&demo.url()).await;
    connected(&mut browser, &["anna", "ben"]).await;
    browser
}

async fn say(browser: &mut Browser, user: &str, text: &str) {
    browser.fill(&phone(user, "input"), text).await;
    browser.press("Enter").await;
}

/// Fails on what pages complained of, but for requests that a cut line or a restart has broken.
async fn is_content(browser: &mut Browser) {
    let mut complaints = browser.complaints().await;
    complaints.retain(|complaint| !complaint.contains("net::ERR_"));
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn two_windows_chat_and_see_what_was_delivered_and_read_and_who_types() {
    let demo = Demo::start().await;
    let mut browser = Browser::start();
    browser.open(&format!("{}?as=anna", demo.url())).await;
    connected(&mut browser, &["anna"]).await;
    browser.says(&phone("anna", ".other"), "Ben is offline").await;
    browser.tab(1).await;
    browser.open(&format!("{}?as=ben", demo.url())).await;
    connected(&mut browser, &["ben"]).await;
    browser.tab(0).await;
    browser.says(&phone("anna", ".other"), "Ben is online").await;

    say(&mut browser, "anna", "hello <b>").await;
    browser.shows(&messages("anna"), &texts(&["hello <b>"])).await;
    browser.says(&phone("anna", ".messages small"), "delivered").await;
    browser.tab(1).await;
    browser.shows(&messages("ben"), &texts(&["hello <b>"])).await;
    browser.fill(&phone("ben", "input"), "hm").await;
    browser.tab(0).await;
    browser.says(&phone("anna", ".other"), "Ben is typing").await;
    browser.says(&phone("anna", ".messages small"), "✓✓ read").await;

    // The past is there after a reload, with its marks.
    browser.open(&format!("{}?as=anna", demo.url())).await;
    browser.shows(&messages("anna"), &texts(&["hello <b>"])).await;
    browser.says(&phone("anna", ".messages small"), "✓✓ read").await;
    browser.tab(1).await;
    browser.open("about:blank").await;
    browser.tab(0).await;
    browser.says(&phone("anna", ".other"), "Ben is offline").await;
    is_content(&mut browser).await;
}

#[tokio::test]
async fn a_cut_line_is_caught_up_with_in_order_and_the_page_counts_it() {
    let demo = Demo::start().await;
    let mut browser = opened(&demo).await;
    say(&mut browser, "anna", "before").await;
    browser.says(&phone("anna", ".messages small"), "read").await;
    browser.click(&button("ben", "cut")).await;
    browser.wait(&phone("ben", ".line.bad")).await;
    let missed = ["one", "two", "three", "four"];
    for text in missed {
        say(&mut browser, "anna", text).await;
    }
    let mut all = vec!["before"];
    all.extend(missed);
    browser.shows(&messages("anna"), &texts(&all)).await;
    browser.says(".branch[data-reader=ben] .time", "4 waiting").await;
    browser.shows(&messages("ben"), &texts(&["before"])).await;
    browser.click(&button("ben", "cut")).await;
    browser.says("#said", "Ben: 4 events missed, 4 resumed, in order.").await;
    browser.shows(&messages("ben"), &texts(&all)).await;
    browser.says("#first pre", "\"resumed\":true,\"missed\":4").await;
    is_content(&mut browser).await;
}

#[tokio::test]
async fn the_page_keeps_what_is_written_while_the_server_restarts() {
    let demo = Demo::start().await;
    let mut browser = opened(&demo).await;
    say(&mut browser, "ben", "before").await;
    browser.shows(&messages("anna"), &texts(&["before"])).await;
    browser.click("[data-act=restart]").await;
    browser.wait(&phone("anna", ".line.warn")).await;
    say(&mut browser, "anna", "meanwhile").await;
    browser.says("#said", "Restarted: 2 of 2 streams came back by their ids").await;
    for user in ["anna", "ben"] {
        browser.shows(&messages(user), &texts(&["before", "meanwhile"])).await;
    }
    is_content(&mut browser).await;
}

#[tokio::test]
async fn a_slow_reader_gets_all_in_order_and_the_other_one_does_not_wait() {
    let demo = Demo::start().await;
    let mut browser = opened(&demo).await;
    browser.click(&button("ben", "slow")).await;
    browser.says("#said", "Anna has all 300 events").await;
    browser.says("#first pre", "behind in the log").await;
    browser.click(&button("ben", "slow")).await;
    let said = browser.says("#said", "300 events: Anna had them after").await;
    assert!(said.contains("both in order"), "{said}");
    is_content(&mut browser).await;
}

#[tokio::test]
async fn a_thousand_readers_are_measured_and_leave() {
    let demo = Demo::start().await;
    let mut browser = opened(&demo).await;
    browser.click(&button("load", "load")).await;
    browser.says(".branch[data-reader=load] .state", "readers").await;
    browser.says("#charts", "deliveries a second").await;
    let said = browser.says("#said", "120 events").await;
    assert!(said.contains("none is missing"), "{said}");
    browser.says(".branch[data-reader=load] .state", "they have left").await;
    is_content(&mut browser).await;
}

#[tokio::test]
async fn the_line_for_a_terminal_works_as_it_stands_in_every_shell_language() {
    let demo = Demo::start().await;
    let mut browser = opened(&demo).await;
    browser.click("[data-act=terminal]").await;
    let mut said = Vec::new();
    for (language, run) in [
        ("curl", "cat > f.sh; sh f.sh"),
        ("Node", "cat > f.mjs; node f.mjs"),
        ("Python", "python3 -"),
        ("PHP", "(echo '<?php'; cat) > f.php; php f.php"),
        ("Ruby", "ruby -"),
        (
            "Go",
            "(echo 'package main; import (\"net/http\"; \"strings\"); func main() {'; cat; \
             echo; echo 'if err != nil || response.StatusCode != 200 { panic(\"no\") } }') > f.go; go run f.go",
        ),
    ] {
        browser.select("#language", language).await;
        let code = browser.texts("#second pre").await.remove(0);
        assert_eq!(code.lines().count(), 3, "{code}");
        let folder = tempfile::tempdir().expect("a folder");
        let line = format!(
            "cd {} && ({run}) <<'END_OF_CODE'\n{code}\nEND_OF_CODE",
            folder.path().to_str().expect("text")
        );
        shell(&line).await;
        said.push("Hello from a terminal");
        browser.shows(&messages("ben"), &texts(&said)).await;
    }
    browser.select("#language", "redis-cli").await;
    browser.says("#note", "This demo runs without one").await;
    is_content(&mut browser).await;
}

#[tokio::test]
async fn it_fits_every_window_and_axe_finds_nothing_serious() {
    let demo = Demo::start().await;
    let mut browser = opened(&demo).await;
    let long = "w".repeat(200);
    for text in ["hello", &*long, "שלום 👋", "<script>alert(1)</script>"] {
        say(&mut browser, "anna", text).await;
    }
    browser.click(&button("ben", "cut")).await;
    browser.wait(&phone("ben", ".line.bad")).await;
    for scheme in ["light", "dark"] {
        browser.prefer(scheme, "no-preference").await;
        for (width, height) in [(375, 812), (768, 1024), (1280, 800), (1920, 1080)] {
            browser.size(width, height).await;
            browser.is_accessible().await;
        }
    }
    is_content(&mut browser).await;
}

#[tokio::test]
async fn without_motion_events_are_a_list() {
    let demo = Demo::start().await;
    let mut browser = opened(&demo).await;
    browser.prefer("light", "reduce").await;
    say(&mut browser, "anna", "hello").await;
    browser.says("#trace li", "message:new → ben").await;
    browser.wait("#trace").await;
    eventually("no dot is left of what moved before", async || {
        browser.texts(".dots circle").await.is_empty().then_some(())
    })
    .await;
}
