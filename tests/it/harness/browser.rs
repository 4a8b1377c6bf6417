//! A real browser with a page or several: Chromium, driven by `tests/node/browser.mjs`. Whatever fails leaves a
//! screenshot.

use std::path::Path;

use serde_json::{Value, json};

use super::Program;
use super::waiting::{SOON, look_for};

pub(crate) struct Browser {
    driver: Program,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// One that takes the certificates of tests.
    pub(crate) fn start_trusting() -> Self {
        Self::start_with(&["any-certificate"])
    }

    fn start_with(more: &[&str]) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let arguments = [&[profile.path().to_str().expect("text")], more].concat();
        let driver = Program::node("browser.mjs", &arguments);
        Self { driver, _profile: profile }
    }

    /// Opens a page and waits until it has loaded.
    pub(crate) async fn open(&mut self, url: &str) {
        self.must(&json!({"do": "open", "url": url})).await;
    }

    /// Types into a field, over what it held.
    pub(crate) async fn fill(&mut self, selector: &str, text: &str) {
        self.must(&json!({"do": "fill", "selector": selector, "text": text})).await;
    }

    pub(crate) async fn click(&mut self, selector: &str) {
        self.must(&json!({"do": "click", "selector": selector})).await;
    }

    /// Goes on with another tab of the same browser; the first one is 0.
    pub(crate) async fn tab(&mut self, number: usize) {
        self.must(&json!({"do": "tab", "number": number})).await;
    }

    /// Picks an option of a list.
    pub(crate) async fn select(&mut self, selector: &str, value: &str) {
        self.must(&json!({"do": "select", "selector": selector, "value": value})).await;
    }

    /// Presses a key, such as `Enter`, where the focus is.
    pub(crate) async fn press(&mut self, key: &str) {
        self.must(&json!({"do": "press", "key": key})).await;
    }

    /// Makes the window this large, and fails when the page then scrolls sideways.
    pub(crate) async fn size(&mut self, width: u32, height: u32) {
        let too_wide = self.must(&json!({"do": "size", "width": width, "height": height})).await;
        if too_wide != json!([]) {
            self.fail(&format!("the page scrolls sideways at {width}x{height}: {too_wide}")).await;
        }
    }

    /// Prefers a colour scheme (`light`, `dark`), and motion (`no-preference`) or none (`reduce`).
    pub(crate) async fn prefer(&mut self, scheme: &str, motion: &str) {
        self.must(&json!({"do": "media", "scheme": scheme, "motion": motion})).await;
    }

    /// Fails when axe-core has a serious finding.
    pub(crate) async fn is_accessible(&mut self) {
        let found = self.must(&json!({"do": "axe"})).await;
        if found != json!([]) {
            self.fail(&format!("axe-core finds {found:#}")).await;
        }
    }

    /// What the pages have complained of: exceptions, and errors on the console.
    pub(crate) async fn complaints(&mut self) -> Vec<String> {
        serde_json::from_value(self.must(&json!({"do": "complaints"})).await).expect("texts")
    }

    /// The texts of the elements as they are now.
    pub(crate) async fn texts(&mut self, selector: &str) -> Vec<String> {
        let texts = self.must(&json!({"do": "texts", "selector": selector})).await;
        serde_json::from_value(texts).expect("texts")
    }

    /// Waits until one of the elements' texts holds this; gives that text.
    pub(crate) async fn says(&mut self, selector: &str, part: &str) -> String {
        let mut shown = Vec::new();
        let seen = look_for(SOON, async || {
            shown = self.texts(selector).await;
            shown.iter().find(|text| text.contains(part)).cloned()
        });
        match seen.await {
            Some(text) => text,
            None => self.fail(&format!("{selector} shows {shown:?}\nand not {part:?}")).await,
        }
    }

    /// Waits until an element is to be seen.
    pub(crate) async fn wait(&mut self, selector: &str) {
        self.must(&json!({"do": "wait", "selector": selector})).await;
    }

    /// Waits until the elements' texts are these, in this order.
    pub(crate) async fn shows(&mut self, selector: &str, texts: &[String]) {
        let mut shown = Value::Null;
        // No look is cut short: the driver's answer to it would be taken for the next one's.
        let seen = look_for(SOON, async || {
            shown = self.must(&json!({"do": "texts", "selector": selector})).await;
            (shown == json!(texts)).then_some(())
        });
        if seen.await.is_none() {
            self.fail(&format!("{selector} shows {shown}\ninstead of {}", json!(texts))).await;
        }
    }

    /// What its `EventSource` has received so far, whatever the page made of it: objects of `event`, `data` and `id`.
    pub(crate) async fn streamed(&mut self) -> Vec<Value> {
        self.must(&json!({"do": "streamed"})).await.as_array().expect("a list").clone()
    }

    /// The requests that the page has made, as `GET /path`.
    pub(crate) async fn requested(&mut self) -> Vec<String> {
        serde_json::from_value(self.must(&json!({"do": "requested"})).await).expect("texts")
    }

    /// What an expression is in the page.
    pub(crate) async fn evaluate(&mut self, script: &str) -> Value {
        self.must(&json!({"do": "evaluate", "script": script})).await[0].take()
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&mut self, script: &str) {
        let seen = look_for(SOON, async || (self.evaluate(script).await == json!(true)).then_some(()));
        if seen.await.is_none() {
            self.fail(&format!("never true: {script}")).await;
        }
    }

    async fn must(&mut self, command: &Value) -> Value {
        let mut answer = self.ask(command).await;
        if let Some(why) = answer["failed"].as_str() {
            self.fail(&format!("{command}: {why}")).await;
        }
        answer["done"].take()
    }

    async fn fail(&mut self, why: &str) -> ! {
        let test = std::thread::current().name().unwrap_or("browser").replace("::", "-");
        let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.png"));
        self.ask(&json!({"do": "screenshot", "path": picture})).await;
        panic!("{why}\nthe page as it was: {}", picture.display());
    }

    async fn ask(&mut self, command: &Value) -> Value {
        self.driver.tell(command).await;
        self.driver.json().await
    }
}

impl Drop for Browser {
    /// Before the profile's folder is removed, into which Chromium writes until its end.
    fn drop(&mut self) {
        self.driver.end();
    }
}
