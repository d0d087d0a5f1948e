//! Placeholders, blocks and counts, under rules that remove card numbers and let no e-mail address pass.

use std::collections::BTreeMap;

use outpost_audit::Kind;
use outpost_policies::content::{Act, Content, ContentRule, RoleContent};
use outpost_policies::{Action, Ask, Bundle, Context, ModelFacts, Policies, Principal, PrincipalKind, Resource};
use serde_json::json;

use super::*;
use crate::{Chat, Message, Role, Said};

const CARD: &str = "4111 1111 1111 1111";

fn rules() -> ContentRules {
    let rule = |class: &str, act| ContentRule { class: class.to_owned(), act };
    let both = vec![rule("payment_card", Act::Redact), rule("email", Act::Block)];
    let role = RoleContent { input: both.clone(), output: both };
    let mut bundle = Bundle::default_bundle();
    bundle.content = Content { role: BTreeMap::from([("operator".to_owned(), role)]), ..Content::default() };
    let ask = Ask {
        principal: Principal { kind: PrincipalKind::User, id: "ada".to_owned(), roles: vec!["operator".to_owned()] },
        action: Action::Infer,
        resource: Resource::Model(ModelFacts { id: "demo".to_owned(), ..ModelFacts::default() }),
        context: Context::default(),
    };
    Policies::activate(bundle).unwrap().authorize(&ask).unwrap().content().clone()
}

fn chat(message: Message) -> Prompt {
    Prompt::Chat(Chat { messages: vec![message], ..Chat::default() })
}

#[test]
fn what_goes_in_has_placeholders_and_the_record_has_counts_without_content() {
    let mut message = Message::new(Role::User, &format!("my card is {CARD}, yes {CARD}") as &str);
    message.calls = vec![ToolCall {
        arguments: r#"{ "card": 4111111111111111, "note": "\u0034111 1111 1111 1111", "other": 7 }"#.to_owned(),
        ..ToolCall::default()
    }];
    let (mut prompt, mut found) = (chat(message), Found::default());
    look_through(&rules(), &mut prompt, &mut found).unwrap();
    let Prompt::Chat(chat) = prompt else { panic!("still a conversation") };
    assert_eq!(chat.messages[0].content, "my card is [payment card removed], yes [payment card removed]");
    let arguments: Value = serde_json::from_str(&chat.messages[0].calls[0].arguments).unwrap();
    assert_eq!(arguments, json!({ "card": "[payment card removed]", "note": "[payment card removed]", "other": 7 }));
    let record = format!("{:?}", found.describe(Record::new(Kind::InferStart), Direction::Input));
    assert!(record.contains("payment_card redact 4") && !record.contains("4111"), "{record}");
}

#[test]
fn what_must_not_go_in_is_refused_by_class() {
    let (mut prompt, mut found) = (chat(Message::new(Role::User, "write to ada@example.com")), Found::default());
    let error = look_through(&rules(), &mut prompt, &mut found).unwrap_err();
    assert_eq!((error.status.as_u16(), error.code), (403, "content_blocked"));
    let error = look_through(&rules(), &mut Prompt::Tokens(vec![1]), &mut found).unwrap_err();
    assert_eq!(error.status.as_u16(), 400, "tokens cannot be looked through");
}

fn pass(filter: &mut Filter, said: Vec<Said>) -> Result<Vec<Said>, Blocked> {
    let mut passed = Vec::new();
    for said in said {
        passed.extend(filter.said(said)?);
    }
    passed.extend(filter.finish()?);
    Ok(passed)
}

#[test]
fn what_comes_out_in_pieces_is_looked_through_part_by_part_in_order() {
    let mut filter = Filter::new(rules()).unwrap();
    let arguments = |index, text: &str| Said::Arguments { index, text: text.to_owned() };
    let passed = pass(
        &mut filter,
        vec![
            Said::Reasoning("thin".into()),
            Said::Reasoning("king 4111 1111".into()),
            Said::text(" 1111 1111 is no card across parts, 4111 11"),
            Said::text("11 1111 1111 is"),
            Said::Call { index: 0, name: "pay".into() },
            arguments(0, "{\"card\": 41111111"),
            arguments(0, "11111111}"),
            Said::Call { index: 1, name: "pay".into() },
            arguments(1, "{\"cut\": \"4111111111111111 "),
        ],
    );
    let mut parts: Vec<Said> = Vec::new();
    for said in passed.unwrap() {
        match (parts.last_mut(), said) {
            (Some(Said::Text { text, .. }), Said::Text { text: more, .. }) => text.push_str(&more),
            (Some(Said::Reasoning(text)), Said::Reasoning(more)) => text.push_str(&more),
            (_, said) => parts.push(said),
        }
    }
    assert_eq!(
        parts,
        [
            Said::Reasoning("thinking 4111 1111".into()),
            Said::text(" 1111 1111 is no card across parts, [payment card removed] is"),
            Said::Call { index: 0, name: "pay".into() },
            arguments(0, "{\"card\":\"[payment card removed]\"}"),
            Said::Call { index: 1, name: "pay".into() },
            arguments(1, "{\"cut\": \"[payment card removed] "),
        ]
    );
    let record = format!("{:?}", filter.found().describe(Record::new(Kind::InferEnd), Direction::Output));
    assert!(record.contains("payment_card redact 3"), "{record}");
}

#[test]
fn an_answer_that_must_not_leave_ends_there() {
    let mut filter = Filter::new(rules()).unwrap();
    let blocked = pass(&mut filter, vec![Said::text("write to ada@exam"), Said::text("ple.com now")]).unwrap_err();
    let error = blocked.error(Direction::Output);
    assert_eq!((error.status.as_u16(), error.code), (403, "content_blocked"));
    assert!(!format!("{error:?}").contains("ada"));
}
