//! The report's numbers against those that a plain reading of the same leaves gives.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::reader::{Filter, list};

/// The cells of the table whose caption begins so, row by row.
pub(super) fn rows(html: &str, caption: &str) -> Vec<Vec<String>> {
    let table = html.split("<caption>").skip(1).find(|table| table.starts_with(caption));
    let table = table.unwrap_or_else(|| panic!("no table `{caption}`"));
    let body = table.split_once("<tbody>").unwrap().1.split_once("</tbody>").unwrap().0;
    body.split("</tr>").filter(|row| !row.trim().is_empty()).map(cells).collect()
}

fn cells(row: &str) -> Vec<String> {
    let row = row.replace("</th>", "</td>");
    let mut cells: Vec<_> = row
        .split("</td>")
        .map(|cell| cell.split('<').filter_map(|part| Some(part.split_once('>')?.1)).collect::<String>())
        .collect();
    // What stands behind the last cell is none.
    cells.pop();
    cells
}

pub(super) fn number(text: &str) -> u64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

/// A mixed day, the same every time.
fn write(device: &Device) {
    let log = device.open();
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = move |end: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % end
    };
    let mut records = Vec::new();
    for number in 0..600_u64 {
        device.clock.advance(Duration::from_secs(120));
        let who = Who {
            id: format!("p:{}", below(5)),
            auth: "key".into(),
            kind: "user".into(),
            roles: vec!["operator".into()],
        };
        let of = |kind| Record::new(kind).who(who.clone()).act("infer").request(format!("{number}"));
        let object = ObjectRef { model: format!("model-{}", below(3)), ..ObjectRef::default() };
        let ms = 100 + below(5_000);
        records.push(match below(6) {
            0 => {
                let dec = DecisionRef {
                    effect: "deny".into(),
                    rules: vec![format!("rule-{}", below(3))],
                    ..DecisionRef::default()
                };
                of(Kind::InferDenied).object(object).decision(dec).result(Outcome {
                    status: Some(403),
                    err: "denied".into(),
                    ..Outcome::default()
                })
            }
            1 => of(Kind::InferAborted).object(object),
            2 => Record::new(Kind::AuthFail)
                .result(Outcome { err: "bad_token".into(), ..Outcome::default() })
                .detail("source", format!("192.0.2.{}", below(3)))
                .detail("count", 1 + below(9)),
            _ => of(Kind::InferEnd)
                .object(object)
                .io(Io { input_tokens: Some(below(900)), output_tokens: Some(below(300)), ..Io::default() })
                .result(Outcome { status: Some(200), ms: Some(ms), ttft_ms: Some(ms / 4), ..Outcome::default() }),
        });
        if number % 50 == 49 {
            append(&log, records.drain(..));
        }
    }
    log.shutdown("done").unwrap();
}

/// Adds `count` under a key.
fn add(table: &mut BTreeMap<String, u64>, key: impl Into<String>, count: u64) {
    *table.entry(key.into()).or_default() += count;
}

#[test]
fn every_number_is_the_one_that_counting_the_leaves_gives() {
    let device = Device::new();
    write(&device);
    let half = (NOW_S + 600 * 60) * 1000;
    for (since_ms, before_ms) in
        [(None, None), (Some(half), None), (None, Some(half)), (Some(half - 9_000_000), Some(half))]
    {
        let options = Options { since_ms, before_ms, ..with_key(&device) };
        let (html, reported) = device.render(&options);
        let leaves: Vec<Value> = list(&device.path(), &Filter { since_ms, before_ms, ..Filter::default() })
            .unwrap()
            .iter()
            .map(|entry| serde_json::from_slice(&entry.bytes).unwrap())
            .collect();
        assert_eq!(reported.records, leaves.len() as u64);
        compare(&html, &leaves);
    }
}

fn compare(html: &str, leaves: &[Value]) {
    let [mut requests, mut tokens, mut refused, mut models, mut rules, mut sources]: [BTreeMap<String, u64>; 6] =
        Default::default();
    let mut took: Vec<u64> = Vec::new();
    for leaf in leaves {
        let (kind, who, model) =
            (leaf["type"].as_str().unwrap(), leaf["who"]["pid"].as_str(), leaf["obj"]["model"].as_str());
        match kind {
            "infer.end" | "infer.denied" | "infer.aborted" => {
                add(&mut requests, who.unwrap(), 1);
                add(&mut models, model.unwrap(), 1);
                add(&mut refused, who.unwrap(), u64::from(kind == "infer.denied"));
                add(&mut tokens, who.unwrap(), leaf["io"]["out"]["tok"].as_u64().unwrap_or(0));
                took.extend(leaf["res"]["ms"].as_u64());
                leaf["dec"]["rules"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .for_each(|rule| add(&mut rules, rule.as_str().unwrap(), 1));
            }
            "auth.fail" => {
                add(&mut sources, leaf["detail"]["source"].as_str().unwrap(), leaf["detail"]["count"].as_u64().unwrap())
            }
            _ => {}
        }
    }
    let column = |caption, at: usize| -> BTreeMap<String, u64> {
        rows(html, caption).into_iter().map(|row| (row[0].clone(), number(&row[at]))).collect()
    };
    assert_eq!(column("Use by principal", 1), requests);
    assert_eq!(column("Use by principal", 3), refused);
    assert_eq!(column("Use by principal", 6), tokens);
    assert_eq!(column("Use by model", 1), models);
    assert_eq!(column("Refusals by rule", 1), rules);
    assert_eq!(column("Attempts without an identity", 2), sources);
    let over_time: u64 =
        rows(html, "The same per").iter().map(|row| (1..=3).map(|at| number(&row[at])).sum::<u64>()).sum();
    assert_eq!(over_time, requests.values().sum::<u64>());
    let mut spread = spread::Spread::default();
    took.iter().for_each(|ms| spread.add(*ms));
    took.sort_unstable();
    let (median, said) = (took[(took.len() - 1) / 2], spread.percentile(50).unwrap());
    assert!((median..=median + median / 32).contains(&said), "{median} {said}");
}
