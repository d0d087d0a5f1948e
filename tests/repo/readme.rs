//! The README against the programs: every command that it names exists, and every command shows an example.

use std::path::PathBuf;
use std::process::Command;

use crate::source::root;

/// The programs that a README line may begin with.
const PROGRAMS: &[&str] = &["outpost", "outpost-control", "outpost-demo"];

/// One command as a README line calls it.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    program: String,
    /// What stands behind the program's name.
    arguments: Vec<String>,
}

/// The commands in fenced blocks tagged `sh`.
fn calls(readme: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => calls.extend(call(line)),
            _ => {}
        }
    }
    calls
}

fn call(line: &str) -> Option<Call> {
    let line = line.trim_start_matches("$ ").split(" #").next().unwrap_or_default();
    let mut words = line.split_whitespace().map(|word| word.trim_matches('"').to_owned()).peekable();
    // `NAME=value command` sets a variable for one command.
    while words.next_if(|word| word.split_once('=').is_some_and(|(name, _)| !name.starts_with('-'))).is_some() {}
    let first = words.next()?;
    if first == "cargo" {
        let words: Vec<_> = words.collect();
        let program = words.iter().position(|word| word == "--bin").and_then(|at| words.get(at + 1))?.clone();
        let arguments = words.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
        return Some(Call { program, arguments });
    }
    let program = first.rsplit('/').next().unwrap_or(&first).to_owned();
    PROGRAMS.contains(&program.as_str()).then(|| Call { program, arguments: words.collect() })
}

/// A program of this build, two folders above this test.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let found = own.ancestors().skip(1).take(3).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not built beside `{}`; run `cargo build --bins` first", own.display()))
}

fn help(program: &str, commands: &[String]) -> String {
    let output = Command::new(binary(program)).args(commands).arg("--help").output();
    let output = output.unwrap_or_else(|error| panic!("`{program}` cannot be started: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The names below `Commands:` in a help text, clap's own `help` left out.
fn subcommands(help: &str) -> Vec<String> {
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.trim().is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.filter_map(|rest| rest.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// What is wrong with a call, if something is.
fn mistake(call: &Call) -> Option<String> {
    let mut commands = Vec::new();
    let mut text = help(&call.program, &commands);
    let mut words = call.arguments.iter().peekable();
    loop {
        let known = subcommands(&text);
        if known.is_empty() {
            break;
        }
        let Some(word) = words.next_if(|word| !word.starts_with('-')) else { break };
        if !known.contains(word) {
            return Some(format!("`{} {}` has no command `{word}`", call.program, commands.join(" ")));
        }
        commands.push(word.clone());
        text = help(&call.program, &commands);
    }
    let flags = words.filter(|word| word.starts_with("--") && word.len() > 2);
    let unknown = flags.map(|flag| flag.split('=').next().unwrap_or(flag)).find(|flag| !text.contains(*flag));
    unknown.map(|flag| format!("`{} {}` has no option `{flag}`", call.program, commands.join(" ")))
}

fn every_command(program: &str, commands: &[String]) -> Vec<(Vec<String>, String)> {
    let text = help(program, commands);
    let below: Vec<_> =
        subcommands(&text).into_iter().flat_map(|name| every_command(program, &[commands, &[name]].concat())).collect();
    if below.is_empty() { vec![(commands.to_vec(), text)] } else { below }
}

#[test]
fn every_command_in_the_readme_exists() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let calls = calls(&readme);
    assert!(calls.len() >= 4, "the README shows commands in blocks tagged `sh`");
    let mistakes: Vec<_> = calls.iter().filter_map(mistake).collect();
    assert!(mistakes.is_empty(), "README.md is wrong:\n{}", mistakes.join("\n"));
}

#[test]
fn every_command_of_every_program_shows_an_example() {
    for program in ["outpost", "outpost-control"] {
        let commands = every_command(program, &[]);
        assert!(commands.len() > 3, "`{program} --help` lists its commands, found {commands:?}");
        let without = commands.iter().filter(|(_, text)| !text.contains("Example"));
        let without: Vec<_> = without.map(|(commands, _)| format!("{program} {}", commands.join(" "))).collect();
        assert!(without.is_empty(), "no example in the help of: {}", without.join(", "));
    }
}

#[test]
fn commands_are_read_out_of_a_readme_as_people_write_them() {
    let readme = "text\n```sh\n$ outpost key create --name till  # makes a key\nA=b target/release/outpost run\n\
        cargo run --release --bin outpost-demo -- --once\ncurl x\n```\n```\noutpost gone\n```\n";
    let call = |program: &str, arguments: &[&str]| Call {
        program: program.to_owned(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
    };
    let expected = [
        call("outpost", &["key", "create", "--name", "till"]),
        call("outpost", &["run"]),
        call("outpost-demo", &["--once"]),
    ];
    assert_eq!(calls(readme), expected);
}

#[test]
fn subcommands_are_read_out_of_a_help_text() {
    let text = "About\n\nUsage: x\n\nCommands:\n  run   Run it, with a text\n          that goes on\n  help  Print\n\nOptions:\n  -h\n";
    assert_eq!(subcommands(text), ["run"]);
}
