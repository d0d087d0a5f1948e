//! What a file may not say, each mistake with its line; rules that agree and rules that do not.

use proptest::prelude::*;

use super::super::read::MOST_ENTRIES;
use super::*;

/// The mistakes of a file, without their heading.
fn wrong(text: &str) -> String {
    match FleetFile::read(text) {
        Err(FleetFileError::Mistakes(mistakes)) => mistakes.join("\n"),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_mistake_is_told_at_once_with_its_line_and_what_was_meant() {
    let text = "[fleet]\nform = 2\ntenent = \"default\"\n\n[[device]]\nid = \"till-7\"\nmodle = \"demo\"\nsite = 12\n\n\
                [[device]]\nid = \"till-7\"\nkey = \"3f2a\"\nidle = true\nmodel = \"x\"\n\n[[divice]]\nid = \"x\"\n";
    assert_eq!(
        wrong(text),
        "  line 16: unknown section `divice`; did you mean `device`?\n  \
         line 3: unknown key `tenent` in `[fleet]`; did you mean `tenant`?\n  \
         line 1: the file has form 2, this version reads form 1\n  \
         line 7: unknown key `modle` in `[[device]]`; did you mean `model`?\n  \
         line 8: `site` is a text, not this number\n  \
         line 10: `idle = true` runs no model: leave `model` out\n  \
         line 12: not a fingerprint of a key: expected 64 hexadecimal digits, as `outpost enroll --show-key` prints them\n  \
         line 11: the device `till-7` stands in line 6 already"
    );
}

#[test]
fn what_cannot_be_is_refused_in_its_line() {
    for (text, line, part) in [
        ("[[device]]\nsite = \"x\"", 1, "`[[device]]` needs `id`"),
        ("[[device]]\nid = \"../x\"", 2, "is not a device id"),
        ("[[device]]\nid = \"control-plane\"", 2, "is not a name for a device"),
        ("[[device]]\nid = \"a\"\nsite = \"Store 12\"", 3, "is no name for a site"),
        ("[[device]]\nid = \"a\"\nlabels = { Role = \"x\" }", 3, "is no key of a label"),
        ("[[device]]\nid = \"a\"\nlabels = { role = \"a b\" }", 3, "is no value of a label"),
        ("[[device]]\nid = \"a\"\nmodel = \"A/B\"", 3, "is not a model id"),
        ("[[device]]\nid = \"a\"\nminimum_context = 5", 1, "say which, with `model`"),
        ("[[device]]\nid = \"a\"\nmodel = \"m\"\nminimum_context = -1", 4, "a whole number from 0"),
        ("[device]\nid = \"a\"", 1, "write `[[device]]`, with two brackets"),
        ("[[group]]\nname = \"g\"", 1, "has either `where` or `members`"),
        ("[[group]]\nname = \"g\"\nwhere = \"memry>1\"", 3, "did you mean `memory`?"),
        ("[[group]]\nname = \"g\"\nmembers = [1]", 3, "a list of texts, not of this number"),
        ("[[group]]\nname = \"Lab\"\nmembers = []", 2, "a group is named with"),
        ("[[person]]\nname = \"Ada\"\nroles = [\"viewer\"]", 2, "is no name here"),
        ("[[person]]\nname = \"ada\"", 1, "name a role"),
        ("[[person]]\nname = \"ada\"\nroles = [\"viewer\"]\npassword = \"x\"", 4, "unknown key `password`"),
        ("[[token]]\nname = \"ci\"\nroles = [\"viewer\"]\nscope = [\"asign\"]", 4, "did you mean `assign`?"),
        ("[[assign]]\nwhere = \"all\"", 1, "`[[assign]]` says what to run"),
        ("[[rollout]]\nname = \"x\"", 1, "unknown section `rollout`; a fleet file does not hold that"),
        ("[[webhook]]\nurl = \"x\"", 1, "unknown section `webhook`"),
        ("[[site]]\nname = \"x\"", 1, "a site is no more than a name here"),
        ("a = [\n1,\n", 2, "this is not TOML: unclosed array"),
        ("a = 1\na = 2", 2, "this is not TOML"),
    ] {
        let told = wrong(text);
        let found = told.lines().any(|told| told.contains(&format!("line {line}: ")) && told.contains(part));
        // A selector's mistake goes on in the lines below.
        assert!(found || (told.contains(&format!("line {line}: ")) && told.contains(part)), "{text}\n{told}");
    }
    for deep in ["[".repeat(10_000), "{ a = ".repeat(10_000)].map(|deep| format!("a = {deep}")) {
        assert!(wrong(&deep).contains("max recursion depth"), "{}", wrong(&deep));
    }
    assert!(wrong(&format!("[{}a]", "a.".repeat(10_000))).contains("recursion limit"));
    assert!(matches!(FleetFile::read(&" ".repeat(FLEET_FILE_BYTES + 1)), Err(FleetFileError::TooLarge)));
    let many = "[[device]]\nid = 1\n".repeat(30);
    assert!(wrong(&many).ends_with("  and 10 more"), "{}", wrong(&many));
}

#[test]
fn what_does_not_fit_this_fleet_is_refused_in_its_line() {
    let house = House::rooted();
    house.list(&["demo", "second"]);
    let _key = house.enrol_by_code("till-1");
    for (text, part) in [
        ("[fleet]\ntenant = \"acme\"", "line 2: the file is for the tenant `acme`, this is `default`"),
        ("[[device]]\nid = \"till-1\"\nmodel = \"dmeo\"", "which is not in the catalogue; did you mean `demo`?"),
        ("[[group]]\nname = \"g\"\nmembers = [\"nobody\"]", "line 2: `g` has a member `nobody`"),
        ("[[group]]\nname = \"g\"\nwhere = \"group=h\"", "line 2: there is no group `h`"),
        ("[[group]]\nname = \"g\"\nwhere = \"group=g\"", "line 2: the group `g` is defined through itself"),
        ("[[assign]]\nwhere = \"group=x\"\nidle = true", "line 1: there is no group `x`"),
        ("[[assign]]\nwhere = \"memory>1GiB\"\nidle = true", "line 1: `memory` is what a device reports"),
        (
            "[[group]]\nname = \"g\"\nwhere = \"online\"\n[[assign]]\nwhere = \"group=g\"\nidle = true",
            "line 4: `online`",
        ),
    ] {
        let told = mistakes(&house, text, false);
        assert!(told.contains(part), "{text}\n{told}");
    }
}

#[test]
fn a_devices_own_word_comes_first_and_rules_that_disagree_are_a_mistake() {
    let house = House::rooted();
    house.list(&["demo", "second"]);
    let devices = "[[device]]\nid = \"a\"\nsite = \"store-12\"\n[[device]]\nid = \"b\"\nsite = \"store-12\"\n\
                   labels = { stage = \"canary\" }\n[[device]]\nid = \"c\"\nsite = \"store-12\"\nidle = true\n";
    let rule = |selector: &str, model: &str| format!("[[assign]]\nwhere = \"{selector}\"\nmodel = \"{model}\"\n");
    let both = rule("site=store-12", "demo") + &rule("label.stage=canary", "second") + devices;
    let told = mistakes(&house, &both, false);
    assert!(told.contains("line 4: `b` would run second by this and demo by line 1"), "{told}");
    let agreed = rule("site=store-12", "demo") + &rule("label.stage=canary", "demo") + devices;
    assert!(house.plan(&agreed, false).is_ok());
    let parted = rule("site=store-12 and not label.stage=canary", "demo")
        + &rule("group=first", "second")
        + &rule("name=nobody", "demo")
        + "[[group]]\nname = \"first\"\nwhere = \"label.stage=canary\"\n"
        + devices;
    let plan = house.apply(&parted);
    let models: Vec<_> = words(&plan.changes).into_iter().filter(|words| words.contains(": model")).collect();
    assert_eq!(models, ["a: model none → demo", "b: model none → second", "c: model none → nothing"]);
    assert_eq!(plan.notes[0], "line 7: `[[assign]]` means no device");
    // A device that the file does not list is meant too, by what is known of it here.
    let by_label = rule("label.stage=canary", "demo");
    assert_eq!(words(&house.apply(&by_label).changes), ["b: model second → demo"]);
}

#[test]
fn the_largest_fleet_fits_and_one_device_more_is_told() {
    let device = |number: usize| {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&(number as u64).to_be_bytes());
        format!(
            "[[device]]\nid = \"box-{number:05}-of-a-longer-name\"\nkey = \"{}\"\nsite = \"store-{}\"\n\
             labels = {{ role = \"till\", stage = \"canary\", country = \"de\", floor = \"2\", vendor = \"acme\" }}\n\
             model = \"a-model-of-some-name\"\nminimum_context = 2048\n",
            Fingerprint(key),
            number / 25
        )
    };
    let most: String = (0..MOST_ENTRIES).map(device).collect();
    assert!(most.len() < FLEET_FILE_BYTES, "{}", most.len());
    assert_eq!(FleetFile::read(&most).unwrap().listed.devices.len(), MOST_ENTRIES);
    let refused = wrong(&(most + &device(MOST_ENTRIES)));
    let told = "there are 50001 `[[device]]`, 50000 at most: part the file, and apply the parts without `--prune`";
    assert_eq!(refused, format!("  line 1: {told}"));
    let longer = FleetFile::read(&" ".repeat(FLEET_FILE_BYTES + 1)).unwrap_err().to_string();
    assert!(longer.starts_with("the fleet file is larger than 32 MiB: part it"), "{longer}");
}

#[test]
fn whom_a_provider_vouches_for_is_in_no_file() {
    let house = House::new();
    let (issuer, roles) = ("https://id.example", ["operator".to_owned()]);
    assert!(house.fleet.inner.database.vouch(issuer, "4711", "bo@example", &roles, NOW_S).unwrap());
    house.fleet.add_person("ada", &["viewer".to_owned()]).unwrap();
    let file = house.export();
    assert!(file.contains("\"ada\"") && !file.contains("bo@example"), "{file}");
    // Nor is that person taken away, or changed, or made a second time.
    assert_eq!(house.plan(&file, true).unwrap().changes, []);
    for rights in ["roles = [\"operator\"]", "roles = [\"administrator\"]", "roles = [\"operator\"]\ndisabled = true"] {
        let named =
            format!("[[person]]\nname = \"ada\"\nroles = [\"auditor\"]\n[[person]]\nname = \"bo@example\"\n{rights}\n");
        for prune in [false, true] {
            let refused = mistakes(&house, &named, prune);
            let told = "line 5: `bo@example` signs in at the provider, which says what roles that gives: take the person out \
                        of the file, and give the roles at the provider";
            assert!(refused.contains(told), "{refused}");
        }
    }
    let people = house.fleet.people().unwrap();
    let people: Vec<_> = people.iter().map(|one| (one.name.as_str(), one.roles.join(" "))).collect();
    assert_eq!(
        people,
        [("ada", "viewer".to_owned()), ("bo@example", "operator".to_owned())],
        "all of a file or nothing"
    );
}

#[test]
fn the_example_and_the_readme_are_files_that_apply() {
    let readme = include_str!("../../../../README.md");
    let shown = readme.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let shown: Vec<_> = shown.filter(|block| block.contains("[[device]]")).collect();
    assert_eq!(shown.len(), 1, "the README shows one fleet file");
    for text in [include_str!("../../../examples/fleet.toml"), shown[0]] {
        let house = House::new();
        let plan = house.apply(text);
        assert!(plan.changes.len() > 3, "{plan:?}");
        assert_eq!(house.apply_with(text, true).changes, []);
        let copy = House::new();
        copy.apply(&house.export());
        assert_eq!(copy.export(), house.export());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_file_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = FleetFile::read(&String::from_utf8_lossy(&bytes));
    }

    /// Words of the form in any order come further than bytes do.
    #[test]
    fn any_words_are_a_file_or_refused_without_panic(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "[[device]]\n", "[[group]]\n", "[[assign]]\n", "[[person]]\n", "[[token]]\n", "[fleet]\n", "id = ", "key = ",
            "labels = ", "where = ", "members = ", "roles = ", "scope = ", "model = ", "idle = ", "form = ", "\"a\"",
            "\"site=x\"", "[\"a\", \"b\"]", "{ a = \"b\" }", "1", "true", "\n", "\n", "name = ", "1979-05-27", "\u{202e}", "[",
        ]), 0..40),
    ) {
        match FleetFile::read(&words.concat()) {
            Err(FleetFileError::Mistakes(mistakes)) => prop_assert!(!mistakes.is_empty() && mistakes.len() <= 21),
            Err(error) => prop_assert!(false, "{error}"),
            Ok(_) => {}
        }
    }
}
