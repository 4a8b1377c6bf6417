//! `sidestream version`: which build this is.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::output::print;

/// The commit that it was built from, where the build was told: `SIDESTREAM_COMMIT=… cargo build`.
const COMMIT: Option<&str> = option_env!("SIDESTREAM_COMMIT");
/// The optional parts of the build, and whether they are in it.
const FEATURES: &[(&str, bool)] = &[("otel", cfg!(feature = "otel"))];

#[derive(Args, Debug)]
pub(super) struct VersionCommand {
    /// One JSON object: version, commit (null where it is not known), features, target
    #[arg(long)]
    json: bool,
}

impl VersionCommand {
    pub(super) fn run(self) -> ExitCode {
        let version = env!("CARGO_PKG_VERSION");
        let commit = COMMIT.filter(|commit| !commit.is_empty());
        let features: Vec<&str> = FEATURES.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let target = target();
        if self.json {
            let all = json!({ "version": version, "commit": commit, "features": features, "target": target });
            return print(format_args!("{all}\n"));
        }
        let mut text = format!("sidestream {version}\n");
        for (what, value) in [
            ("commit", commit.unwrap_or("not known").to_owned()),
            ("features", if features.is_empty() { "none".to_owned() } else { features.join(", ") }),
            ("target", target),
        ] {
            text.push_str(&format!("  {what:<9} {value}\n"));
        }
        print(text)
    }
}

/// What it was compiled for, as rustc names it.
fn target() -> String {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let vendor = if cfg!(target_vendor = "apple") { "apple" } else { "unknown" };
    let libc = match () {
        () if cfg!(target_env = "gnu") => "-gnu",
        () if cfg!(target_env = "musl") => "-musl",
        () => "",
    };
    format!("{}-{vendor}-{os}{libc}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    #[test]
    fn every_feature_of_the_package_is_named() {
        let package = DeTable::parse(include_str!("../../Cargo.toml")).unwrap();
        let declared = package.get_ref().get("features").and_then(|features| features.get_ref().as_table());
        let names = declared.into_iter().flatten().map(|(name, _)| name.get_ref().as_ref());
        let declared: Vec<&str> = names.filter(|name| *name != "default").collect();
        let known: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
        assert_eq!(known, declared);
    }
}
