//! `api.origins`: the web pages that may call, each by its origin exactly as browsers send it.

use anyhow::{Result, bail};
use reqwest::Url;

/// Longest origin.
const BYTES: usize = 256;

/// Refuses what no browser sends, and what every page could send.
pub(super) fn check(origins: &[String]) -> Result<()> {
    for origin in origins {
        if let Some(mistake) = mistake(origin) {
            let shown: String = origin.chars().take(BYTES).collect();
            bail!("`api.origins` has `{shown}`: {mistake}");
        }
    }
    Ok(())
}

fn mistake(origin: &str) -> Option<String> {
    let advice = "write `scheme://host` or `scheme://host:port`, as in `https://console.example`";
    if origin.contains('*') {
        return Some("it would let in pages that nobody named: name each origin".to_owned());
    }
    if origin.eq_ignore_ascii_case("null") {
        return Some("any page can have the origin `null`: serve yours from an address of its own".to_owned());
    }
    let Some((scheme, host)) = origin.split_once("://").filter(|_| origin.len() <= BYTES) else {
        return Some(advice.to_owned());
    };
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        // An application's own scheme, as in `app://notes`: there is no canonical form to compare with.
        return (!is_scheme(scheme) || !is_host(host)).then(|| advice.to_owned());
    }
    match Url::parse(origin).map(|url| url.origin().ascii_serialization()) {
        Ok(sent) if sent == origin => None,
        Ok(sent) => Some(format!("browsers send an origin as `{sent}`, without a path and without the usual port")),
        Err(_) => Some(advice.to_owned()),
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|letter: char| letter.is_ascii_lowercase())
        && scheme.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    !host.is_empty() && host.bytes().all(is_name) && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for origin in [
            "https://console.example",
            "https://console.example:8443",
            "http://localhost:3000",
            "http://[::1]:3000",
            "https://xn--bcher-kva.example",
            "tauri://localhost",
            "chrome-extension://abcdefghijklmnop",
        ] {
            assert_eq!(mistake(origin), None, "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin_or_everybodys_is_refused_with_the_way_out() {
        for (origin, says) in [
            ("*", "name each origin"),
            ("https://*.example", "name each origin"),
            ("null", "any page can have"),
            ("", "`scheme://host`"),
            ("console.example", "`scheme://host`"),
            ("https://", "`scheme://host`"),
            ("file://", "`scheme://host`"),
            ("app://notes/page", "`scheme://host`"),
            ("app://notes:99999", "`scheme://host`"),
            ("1app://notes", "`scheme://host`"),
            ("https://console.example/", "send an origin as `https://console.example`"),
            ("https://console.example/path", "send an origin as `https://console.example`"),
            ("https://console.example:443", "send an origin as `https://console.example`"),
            ("https://Console.example", "send an origin as `https://console.example`"),
            ("https://me@console.example", "send an origin as `https://console.example`"),
            ("https://bücher.example", "send an origin as `https://xn--bcher-kva.example`"),
            ("https://console.example?x", "send an origin as `https://console.example`"),
            (" https://console.example", "`scheme://host`"),
        ] {
            let said = check(&[origin.to_owned()]).expect_err(origin).to_string();
            assert!(said.contains("api.origins") && said.contains(says), "{origin}: {said}");
        }
        assert!(check(&[format!("https://{}.example", "a".repeat(BYTES))]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_that_counts_has_more_than_a_scheme_a_host_and_a_port(
            text in "([a-z]{1,8}://)?[ -~]{0,20}|(https?://)?\\PC{0,40}",
        ) {
            if mistake(&text).is_none() {
                let (_, host) = text.split_once("://").expect("a scheme");
                prop_assert!(!host.is_empty() && host.is_ascii());
                prop_assert!(!host.contains(['/', '?', '#', '@', '*', '\\', ' ']), "{}", text);
                prop_assert_eq!(&text, &text.to_lowercase());
            }
        }

        #[test]
        fn every_host_with_an_unusual_port_counts(
            host in "[a-z][a-z0-9]{0,10}(\\.[a-z][a-z0-9]{0,5}){0,3}",
            port in 1024_u16..,
        ) {
            prop_assert_eq!(mistake(&format!("https://{host}:{port}")), None);
        }
    }
}
