//! What fits is chosen, what does not is not, and everyone is told why.

use outpost_contract::{Footprint, GoldenPrompts, KernelSpeed, Measurements, ModelFacts, VariantFacts};
use proptest::prelude::*;

use super::*;

fn candidate(quantisation: &str, weight_mib: u64, quality_milli: u32) -> Candidate {
    let model = ModelFacts {
        model: "m".parse().unwrap(),
        architecture: "qwen3".into(),
        licence: "apache-2.0".into(),
        parameters: 600_000_000,
        context_tokens: 32_768,
        layers: 28,
        embedding_length: 1024,
        vocabulary: 151_936,
        kv_elements_per_layer: 2048,
        feed_forward_length: 3072,
        query_elements: 2048,
    };
    Candidate {
        target: format!("m.{quantisation}.manifest.json").parse().unwrap(),
        facts: VariantFacts {
            release: 1,
            model,
            quantisation: quantisation.into(),
            file_bytes: weight_mib << 20,
            weight_bytes: weight_mib << 20,
            quality_milli,
            golden: GoldenPrompts::default(),
            origin: None,
            footprint: None,
        },
    }
}

fn variants() -> Vec<Candidate> {
    vec![candidate("F16", 1200, 16_000), candidate("Q8_0", 640, 8_500), candidate("Q4_0", 340, 4_500)]
}

fn machine(available_mib: u64) -> Measurements {
    let kernel = |format: &str| KernelSpeed {
        format: format.into(),
        threads: 2,
        decode_bytes_per_second: 15 << 30,
        prefill_macs_per_second: 100_000_000_000,
        cached_bytes_per_second: None,
    };
    Measurements {
        measured_at_s: 0,
        cpu: "test".into(),
        cores: 2,
        features: Vec::new(),
        memory_total_bytes: available_mib << 20,
        memory_available_bytes: available_mib << 20,
        memory_cgroup_headroom_bytes: None,
        disk_free_bytes: 100 << 30,
        memory_read_bytes_per_second: 20 << 30,
        kernels: vec![kernel("Q8_0"), kernel("Q4_0")],
        passes: Vec::new(),
        corrections: Vec::new(),
        machine: None,
    }
}

fn setting(context_tokens: u32, slots: u32, threads: u32) -> Setting {
    Setting { context_tokens, slots, threads, kv_type: KvType::F16 }
}

fn chosen(plan: &Plan) -> Option<&str> {
    plan.choice.as_ref().map(|choice| choice.target.as_str())
}

#[test]
fn a_large_machine_gets_the_variant_closest_to_the_original() {
    let plan = plan(&variants(), &machine(16 << 10), &Constraints::default());
    assert_eq!(chosen(&plan), Some("m.F16.manifest.json"));
    assert!(plan.verdicts[1].because.contains("F16 is closer to the original"), "{}", plan.verdicts[1].because);
}

#[test]
fn a_smaller_machine_gets_what_fits_and_every_loser_its_missing_number() {
    let plan = plan(&variants(), &machine(1_600), &Constraints { slots: 1, ..Constraints::default() });
    assert_eq!(chosen(&plan), Some("m.Q8_0.manifest.json"));
    let lost = &plan.verdicts[0];
    assert!(lost.missing_bytes > 0 && lost.because.contains("missing"), "{}", lost.because);
}

#[test]
fn a_model_that_does_not_fit_this_machine_is_refused_with_the_numbers() {
    let plan = plan(&variants(), &machine(300), &Constraints::default());
    assert_eq!(plan.choice, None);
    for verdict in &plan.verdicts {
        assert_eq!(verdict.broken, Some(Broken::Memory { missing_bytes: verdict.missing_bytes }));
        assert!(verdict.because.starts_with("needs ") && verdict.because.contains("available"), "{}", verdict.because);
    }
}

#[test]
fn a_cgroup_limit_counts_more_than_the_machines_memory() {
    let limited = Measurements { memory_cgroup_headroom_bytes: Some(300 << 20), ..machine(16 << 10) };
    assert_eq!(plan(&variants(), &limited, &Constraints::default()).choice, None);
}

#[test]
fn a_licence_or_speed_that_is_not_allowed_is_named() {
    let licences = Constraints { allowed_licences: Some(vec!["mit".into()]), ..Constraints::default() };
    let refused = plan(&variants(), &machine(16 << 10), &licences);
    assert!(refused.choice.is_none() && refused.verdicts[0].because.contains("`apache-2.0` is not allowed"));
    let fast = Constraints { minimum_tokens_per_second_milli: 40_000, ..Constraints::default() };
    let fast = plan(&variants(), &machine(16 << 10), &fast);
    assert_eq!(chosen(&fast), Some("m.Q4_0.manifest.json"), "{}", fast.table());
}

#[test]
fn a_format_without_a_measured_kernel_is_estimated_and_says_so() {
    let plan = plan(&variants(), &machine(16 << 10), &Constraints::default());
    assert_eq!(plan.verdicts[0].speed.basis, Basis::Bandwidth);
    assert!(plan.verdicts[0].because.contains("estimated"), "{}", plan.verdicts[0].because);
    assert_eq!(plan.verdicts[1].speed.basis, Basis::Size);
    // 640 MiB of weights at 15 GiB/s.
    assert_eq!(plan.verdicts[1].speed.tokens_per_second_milli, 24_000);
    let blind = Measurements { kernels: Vec::new(), memory_read_bytes_per_second: 0, ..machine(16 << 10) };
    let unknown = speed(&variants()[0].facts, &blind);
    assert_eq!((unknown.basis, unknown.to_string().as_str()), (Basis::Nothing, "at a speed that was not measured"));
}

#[test]
fn a_mixed_quantisation_is_predicted_from_the_blocks_that_it_is_mostly_made_of() {
    let mut machine = machine(16 << 10);
    machine.kernels[1].format = "Q4_K".into();
    assert_eq!(speed(&candidate("Q4_K_M", 340, 4_800).facts, &machine).basis, Basis::Size);
    assert_eq!(speed(&candidate("Q4_0", 340, 4_500).facts, &machine).basis, Basis::Bandwidth);
}

#[test]
fn a_kernel_that_was_measured_within_a_cache_is_not_believed_beyond_the_memorys_speed() {
    let mut machine = machine(16 << 10);
    machine.kernels[0].decode_bytes_per_second = 500 << 30;
    // 640 MiB at the memory's 20 GiB/s.
    assert_eq!(speed(&variants()[1].facts, &machine).tokens_per_second_milli, 32_000);
}

/// What the engine would count for the candidates of these tests.
fn footprint(weight_bytes: u64) -> Footprint {
    Footprint {
        weight_bytes,
        tokenizer_bytes: 30 << 20,
        kv_heads: 8,
        key_length: 128,
        value_length: 128,
        attended_elements: 2_048,
        rotary_pairs: 64,
        windowed_layers: 0,
        window_tokens: 0,
        matrices: Vec::new(),
    }
}

#[test]
fn every_byte_of_the_prediction_has_a_term() {
    let facts = VariantFacts { footprint: Some(Box::new(footprint(341 << 20))), ..variants()[2].facts.clone() };
    let needs = needs(&facts, &setting(4_096, 2, 2));
    assert_eq!((needs.weight_bytes, needs.tokenizer_bytes), (341 << 20, 30 << 20));
    assert_eq!(needs.kv_bytes, 2 * (4_096 / 32) * (28 * 8 * 256 * 32 * KV_BYTES_PER_ELEMENT + 4_096));
    let codes = |elements: u64| 6 * elements + elements * 5 / 4;
    let row = 8 * 1_024 + codes(1_024) + 4 * (2_048 + 2_048) + codes(2_048) + codes(3_072) + 4 * 3_072 + 8 * 64;
    let logits = 4 * 151_936 * (2 + 8 + 16) + 8 * 2 * 151_936;
    assert_eq!(needs.compute_bytes, row * (128 + 8) + logits + 2 * 2 * 8 * 4_096 * 4 + memory::ALLOCATOR_BYTES);
    assert_eq!(
        needs.total(),
        needs.weight_bytes + needs.kv_bytes + needs.compute_bytes + needs.tokenizer_bytes + needs.base_bytes
    );
}

#[test]
fn a_file_whose_tensor_table_nobody_read_is_counted_for_more_never_for_less() {
    let plain = variants()[2].facts.clone();
    let counted = VariantFacts { footprint: Some(Box::new(footprint(plain.weight_bytes))), ..plain.clone() };
    for (context, slots) in [(512, 1), (4_096, 4), (32_768, 2)] {
        let [plain, counted] = [&plain, &counted].map(|facts| needs(facts, &setting(context, slots, 2)));
        assert!(plain.total() >= counted.total(), "{plain:?} {counted:?}");
    }
}

#[test]
fn a_windowed_layer_stops_growing_at_its_window_and_single_precision_takes_twice_as_much() {
    let windowed = Footprint { windowed_layers: 24, window_tokens: 512, ..footprint(340 << 20) };
    let facts = VariantFacts { footprint: Some(Box::new(windowed)), ..variants()[2].facts.clone() };
    let kv = |context| needs(&facts, &setting(context, 1, 2)).kv_bytes;
    let page = |layers: u64| layers * 8 * 256 * 32 * 2 + 4_096;
    // Windows reach 512, a pass of 128 and a page at either end.
    assert_eq!(kv(32_768), 1_024 * page(4) + 704 / 32 * page(24));
    assert_eq!(kv(32_768) - kv(16_384), 512 * page(4));
    assert_eq!(kv(256), 8 * (page(4) + page(24)));
    let single = needs(&facts, &Setting { kv_type: KvType::F32, ..setting(256, 1, 2) }).kv_bytes;
    assert_eq!(single, 8 * (2 * page(4) + 2 * page(24) - 2 * 4_096));
}

#[test]
fn a_draft_model_takes_its_part_of_the_memory() {
    let (machine, draft) = (machine(16 << 10), variants()[2].facts.clone());
    let alone = needs(&draft, &setting(512, 4, machine.cores));
    let needs = |draft: Option<VariantFacts>| {
        let constraints = Constraints { maximum_context_tokens: 512, draft, ..Constraints::default() };
        plan(&variants(), &machine, &constraints).choice.expect("it fits").needs
    };
    let (without, with) = (needs(None), needs(Some(draft)));
    assert_eq!(with.draft_bytes, alone.total() - alone.base_bytes);
    assert_eq!(with.total(), without.total() + with.draft_bytes);
}

#[test]
fn the_reserve_is_a_tenth_but_never_more_than_a_quarter_of_what_is_left() {
    let mebibytes = |machine: &Measurements| budget(machine).reserve_bytes >> 20;
    assert_eq!(mebibytes(&machine(16_000)), 1_600);
    assert_eq!(mebibytes(&machine(2_000)), 256);
    assert_eq!(mebibytes(&machine(512)), 128);
    let squeezed = Measurements { memory_cgroup_headroom_bytes: Some(400 << 20), ..machine(16_000) };
    assert_eq!(mebibytes(&squeezed), 100);
}

#[test]
fn a_long_context_gives_way_before_the_model_does() {
    let one = Constraints { slots: 1, maximum_context_tokens: 32_768, ..Constraints::default() };
    let roomy = plan(&variants()[2..], &machine(32 << 10), &one).choice.unwrap();
    assert_eq!(roomy.context_tokens, 32_768);
    let tight = plan(&variants()[2..], &machine(2_000), &one).choice.unwrap();
    assert!((512..32_768).contains(&tight.context_tokens) && tight.context_tokens.is_multiple_of(256), "{tight:?}");
    assert!(
        needs(&variants()[2].facts, &setting(tight.context_tokens + 256, 1, 2)).total()
            > budget(&machine(2_000)).usable_bytes
    );
}

#[test]
fn fewer_conversations_at_once_are_better_than_no_answer() {
    let wanted = Constraints { slots: 8, ..Constraints::default() };
    let plan = plan(&variants()[2..], &machine(1_000), &wanted);
    let choice = plan.choice.clone().unwrap();
    assert!(choice.slots < 8, "{}", plan.table());
    assert!(plan.verdicts[0].because.contains("(8 were asked for)"), "{}", plan.table());
}

#[test]
fn the_objective_decides_and_the_loser_hears_which_number_did() {
    let by = |objective| plan(&variants(), &machine(16 << 10), &Constraints { objective, ..Constraints::default() });
    let fast = by(Objective::Speed);
    assert_eq!(chosen(&fast), Some("m.Q4_0.manifest.json"));
    assert!(fast.verdicts[0].because.contains("slower than Q4_0"), "{}", fast.table());
    let small = by(Objective::Memory);
    assert_eq!(chosen(&small), Some("m.Q4_0.manifest.json"));
    assert!(small.verdicts[1].because.contains("larger than Q4_0"), "{}", small.table());
}

#[test]
fn of_two_variants_of_the_same_quality_the_faster_wins_and_the_slower_hears_it() {
    let candidates = [candidate("Q4_0", 340, 4_500), candidate("Q4_1", 340, 4_500)];
    let plan = plan(&candidates, &machine(16 << 10), &Constraints::default());
    assert_eq!(chosen(&plan), Some("m.Q4_0.manifest.json"));
    assert!(plan.verdicts[1].because.starts_with("same quality, but slower than Q4_0 ("), "{}", plan.table());
}

#[test]
fn a_file_that_must_be_fetched_needs_room_on_the_disk_and_one_that_is_here_does_not() {
    let full = Measurements { disk_free_bytes: 700 << 20, ..machine(16 << 10) };
    let here = plan(&variants(), &full, &Constraints::default());
    assert_eq!(chosen(&here), Some("m.F16.manifest.json"));
    let to_fetch = variants().into_iter().map(|candidate| candidate.target).collect();
    let away = plan(&variants(), &full, &Constraints { to_fetch, ..Constraints::default() });
    assert_eq!(chosen(&away), Some("m.Q8_0.manifest.json"));
    assert_eq!(away.verdicts[0].because, "its file has 1.2 GiB, 700 MiB free on the disk: 500 MiB missing");
}

#[test]
fn a_context_longer_than_the_models_own_is_refused_with_both_numbers() {
    let long = Constraints { minimum_context_tokens: 40_000, ..Constraints::default() };
    let plan = plan(&variants(), &machine(64 << 10), &long);
    assert_eq!(plan.verdicts[0].because, "its context is 32768 tokens, 40000 are asked for");
}

#[test]
fn the_table_is_for_people() {
    let one = Constraints { slots: 1, ..Constraints::default() };
    let table = plan(&variants(), &machine(1_600), &one).table();
    let lines = [
        "  variant    needs  tokens/s  because",
        "  F16      1.4 GiB       8.5  needs 1.4 GiB, 1.3 GiB available: 70 MiB missing",
        "→ Q8_0     1.3 GiB      24.0  fits: needs 1.3 GiB of 1.3 GiB, context 5120 × 1 conversation, decodes about 24.0 tokens/s (predicted from its size)",
        "  Q4_0     526 MiB      45.1  fits, but Q8_0 is closer to the original (8.5 bits per weight against 4.5)",
        "  1.3 GiB of memory can be used: 1.5 GiB available, 256 MiB of it kept for everybody else",
    ];
    assert_eq!(table, lines.join("\n"));
}

#[test]
fn the_picture_shows_every_candidate_the_limit_and_the_choice_and_asks_nobody() {
    let one = Constraints { slots: 1, ..Constraints::default() };
    let plan = plan(&variants(), &machine(1_600), &one);
    let page = picture::page(&plan, &variants(), &one, "What <this> box runs");
    assert_eq!(page.matches("<polyline").count(), 3);
    assert_eq!(page.matches("<circle").count(), 1);
    assert!(page.contains("can be used") && page.contains("→ Q8_0") && page.contains("What &lt;this&gt; box runs"));
    for foreign in ["http", "<script", "<link", "url(", "@import", "src="] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn nobody_to_choose_from_is_an_empty_plan() {
    let plan = plan(&[], &machine(1_000), &Constraints::default());
    assert!(plan.choice.is_none() && plan.verdicts.is_empty());
    assert!(plan.table().contains("can be used"));
}

#[test]
fn each_rule_is_told_with_what_it_asks_for() {
    let because = |constraints: Constraints| {
        let plan = plan(&variants(), &machine(16 << 10), &constraints);
        (plan.verdicts[2].broken, plan.verdicts[2].because.clone(), plan.choice.map(|choice| choice.target.to_string()))
    };
    let default = Constraints::default;
    let (broken, text, choice) = because(Constraints { approved_models: Some(Vec::new()), ..default() });
    assert_eq!((broken, choice), (Some(Broken::Approval), None));
    assert_eq!(text, "`m` is none of the models that are approved here");
    let (broken, text, _) =
        because(Constraints { allowed_classes: Some(vec![Class::Tiny, Class::Small]), ..default() });
    assert_eq!((broken, text.as_str()), (Some(Broken::Class), "it is of class Micro, allowed here: Tiny, Small"));
    let (broken, text, choice) = because(Constraints { minimum_quality_milli: 8_000, ..default() });
    assert_eq!(broken, Some(Broken::Quality { missing_milli: 3_500 }));
    assert_eq!(text, "has 4.5 bits per weight, 8.0 are asked for: 3.5 missing");
    assert_eq!(choice.as_deref(), Some("m.F16.manifest.json"));
    // The first rule that is broken is told, not the last.
    let both = Constraints { approved_models: Some(Vec::new()), minimum_quality_milli: 8_000, ..default() };
    assert_eq!(because(both).0, Some(Broken::Approval));
    let approved = Constraints { approved_models: Some(vec!["m".parse().unwrap()]), ..default() };
    assert!(because(approved).2.is_some());
}

#[test]
fn what_serves_stays_until_another_one_fits_with_a_tenth_to_spare() {
    let serving = |available_mib, serving: Option<&str>| {
        let serving = serving.map(|name| name.parse().unwrap());
        let constraints = Constraints { slots: 1, serving, ..Constraints::default() };
        plan(&variants(), &machine(available_mib), &constraints)
    };
    // F16 needs 1.4 GiB; of 1.75 GiB it may have 1.5, of 1.9 it may have 1.65.
    let tight = serving(1_750, Some("m.Q8_0.manifest.json"));
    assert_eq!(chosen(&tight), Some("m.Q8_0.manifest.json"), "{}", tight.table());
    assert!(tight.verdicts[0].because.starts_with("fits, but Q8_0 serves and stays: needs "), "{}", tight.table());
    assert_eq!(chosen(&serving(1_750, None)), Some("m.F16.manifest.json"));
    assert_eq!(chosen(&serving(2_000, Some("m.Q8_0.manifest.json"))), Some("m.F16.manifest.json"));
    // What serves and does not fit any more goes at once.
    assert_eq!(chosen(&serving(1_300, Some("m.F16.manifest.json"))), Some("m.Q8_0.manifest.json"));
    // What serves is none of the candidates: as if nothing did.
    assert_eq!(chosen(&serving(1_750, Some("other"))), Some("m.F16.manifest.json"));
}

/// Candidates of one model in any number of sizes and qualities, some of them equal in everything but their names.
fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (1u64..8_000, 2_000u32..16_000);
    prop::collection::vec(prop_oneof![one, Just((640, 8_500))], 1..8).prop_map(|sizes| {
        let named = sizes.iter().enumerate();
        named.map(|(index, (mebibytes, quality))| candidate(&format!("V{index}"), *mebibytes, *quality)).collect()
    })
}

fn any_constraints() -> impl Strategy<Value = Constraints> {
    let objective = prop_oneof![Just(Objective::Quality), Just(Objective::Speed), Just(Objective::Memory)];
    (1u32..8, 1u32..40_000, 1u32..200_000, 0u64..60_000, objective).prop_map(
        |(slots, minimum_context_tokens, maximum_context_tokens, minimum_tokens_per_second_milli, objective)| {
            Constraints {
                slots,
                minimum_context_tokens,
                maximum_context_tokens,
                minimum_tokens_per_second_milli,
                objective,
                ..Constraints::default()
            }
        },
    )
}

proptest! {
    #[test]
    fn nothing_is_chosen_that_breaks_a_constraint_and_every_loser_has_a_reason(
        available_mib in 1u64..20_000,
        candidates in any_candidates(),
        constraints in any_constraints(),
    ) {
        let machine = machine(available_mib);
        let plan = plan(&candidates, &machine, &constraints);
        prop_assert_eq!(plan.verdicts.len(), candidates.len());
        if let Some(choice) = &plan.choice {
            prop_assert!(choice.needs.total() <= budget(&machine).usable_bytes);
            prop_assert!(choice.context_tokens >= constraints.minimum_context_tokens);
            prop_assert!((1..=constraints.slots).contains(&choice.slots));
            prop_assert!(choice.speed.tokens_per_second_milli >= constraints.minimum_tokens_per_second_milli);
        }
        let chosen = plan.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Chosen);
        prop_assert!(chosen.map(|verdict| &verdict.target).eq(plan.choice.iter().map(|choice| &choice.target)));
        for verdict in &plan.verdicts {
            prop_assert!(verdict.because.chars().any(|c| c.is_ascii_digit()) || verdict.because.contains("names decide"));
            prop_assert!(verdict.missing_bytes == 0 || verdict.outcome == Outcome::Lost);
        }
        prop_assert_eq!(plan.table().lines().count(), candidates.len() + 2);
    }

    #[test]
    fn the_order_of_candidates_never_decides_and_the_same_question_has_the_same_answer(
        available_mib in 500u64..20_000,
        candidates in any_candidates(),
        constraints in any_constraints(),
        rotation in 0usize..8,
    ) {
        let machine = machine(available_mib);
        let straight = plan(&candidates, &machine, &constraints);
        prop_assert_eq!(&straight, &plan(&candidates, &machine, &constraints));
        let mut turned = candidates.clone();
        turned.rotate_left(rotation % candidates.len());
        let mut other = plan(&turned, &machine, &constraints);
        other.verdicts.rotate_right(rotation % candidates.len());
        prop_assert_eq!(straight, other);
    }

    #[test]
    fn more_memory_never_means_a_worse_choice(available_mib in 500u64..20_000, more in 0u64..20_000, candidates in any_candidates()) {
        let quality = |available_mib| {
            let choice = plan(&candidates, &machine(available_mib), &Constraints { slots: 1, ..Constraints::default() }).choice?;
            let chosen = candidates.iter().find(|candidate| candidate.target == choice.target)?;
            Some(chosen.facts.quality_milli)
        };
        prop_assert!(quality(available_mib) <= quality(available_mib + more));
    }

    /// What is better: more conversations at once, then what the objective asks for.
    #[test]
    fn more_memory_never_picks_worse(
        available_mib in 500u64..20_000,
        more in 0u64..20_000,
        candidates in any_candidates(),
        constraints in any_constraints(),
    ) {
        let rank = |available_mib| {
            let machine = machine(available_mib);
            let plan = plan(&candidates, &machine, &constraints);
            let choice = plan.choice?;
            let judge = Judge { measurements: &machine, constraints: &constraints, slots: choice.slots, budget: plan.budget };
            let chosen = candidates.iter().find(|candidate| candidate.target == choice.target)?;
            Some((choice.slots, judge.rank_of(chosen)))
        };
        let (less, more) = (rank(available_mib), rank(available_mib + more));
        prop_assert!(less <= more, "{less:?} {more:?}");
    }

    /// A box whose memory goes up and down by a few parts in a hundred changes its model at most once.
    #[test]
    fn nobody_flaps(
        available_mib in 500u64..20_000,
        swings in prop::collection::vec(0u64..7, 2..12),
        candidates in any_candidates(),
        constraints in any_constraints(),
    ) {
        let constraints = Constraints { slots: 1, ..constraints };
        let (mut serving, mut changes) = (None, 0);
        for swing in swings {
            let available_bytes = (available_mib << 20) * (100 + swing) / 100;
            let machine = Measurements { memory_available_bytes: available_bytes, ..machine(2 * available_mib) };
            let constraints = Constraints { serving: serving.clone(), ..constraints.clone() };
            let Some(choice) = plan(&candidates, &machine, &constraints).choice else { continue };
            changes += u32::from(serving.as_ref().is_some_and(|serving| *serving != choice.target));
            serving = Some(choice.target);
        }
        prop_assert!(changes <= 1, "{changes} changes");
    }

    /// The same question with its own answer as what serves has the same answer.
    #[test]
    fn what_was_chosen_is_chosen_again(
        available_mib in 500u64..20_000,
        candidates in any_candidates(),
        constraints in any_constraints(),
    ) {
        let machine = machine(available_mib);
        let first = plan(&candidates, &machine, &constraints);
        let serving = first.choice.as_ref().map(|choice| choice.target.clone());
        prop_assert_eq!(&first.choice, &plan(&candidates, &machine, &Constraints { serving, ..constraints }).choice);
    }

    #[test]
    fn a_picture_can_be_made_of_every_plan(
        available_mib in 0u64..20_000,
        candidates in any_candidates(),
        constraints in any_constraints(),
        context: u32,
    ) {
        let mut candidates = candidates;
        candidates[0].facts.model.context_tokens = context;
        let plan = plan(&candidates, &machine(available_mib), &constraints);
        prop_assert!(picture::page(&plan, &candidates, &constraints, "plan").ends_with("</html>\n"));
    }

    #[test]
    fn absurd_facts_do_not_overflow(weight: u64, layers: u32, kv: u32, context: u32, slots: u32) {
        let mut absurd = candidate("X", 1, 1);
        absurd.facts.weight_bytes = weight;
        absurd.facts.model.layers = layers;
        absurd.facts.model.kv_elements_per_layer = kv;
        let needs = needs(&absurd.facts, &setting(context, slots, 2));
        prop_assert!(needs.total() >= weight);
    }
}

#[test]
fn a_variant_that_fits_beside_the_running_one_comes_in_beside_it_and_another_after_it() {
    let choice = plan(&variants(), &machine(4096), &Constraints::default()).choice.unwrap();
    let needed = choice.needs.total() - choice.needs.base_bytes;
    for available_mib in [512, 1024, 2048, 4096] {
        let now = machine(available_mib);
        let usable = budget(&now).usable_bytes;
        let told = entrance(&choice, &now);
        assert_eq!(matches!(told, Entrance::Beside { .. }), needed <= usable, "{told}");
    }
    let told = entrance(&choice, &machine(512)).to_string();
    assert!(told.starts_with("after the running model has left") && told.contains("missing"), "{told}");
}

#[test]
fn a_cgroup_limit_counts_for_what_is_left_beside_the_running_one() {
    let choice = plan(&variants(), &machine(8192), &Constraints::default()).choice.unwrap();
    let limited = Measurements { memory_cgroup_headroom_bytes: Some(300 << 20), ..machine(8192) };
    assert!(matches!(entrance(&choice, &limited), Entrance::AfterDraining { .. }));
}

#[test]
fn the_running_model_stays_the_choice_while_it_fills_the_memory_itself() {
    let (running, constraints) = (candidate("Q8_0", 640, 8_500), Constraints { slots: 1, ..Constraints::default() });
    let alone = plan(&variants(), &machine(1_600), &constraints);
    assert_eq!(chosen(&alone), Some(running.target.as_str()));
    let beside = Measurements { memory_total_bytes: 1_600 << 20, ..machine(1_600 - 700) };
    assert_ne!(chosen(&plan(&variants(), &beside, &constraints)), chosen(&alone));
    let given = given_back(&beside, &running.facts, &constraints);
    assert_eq!(chosen(&plan(&variants(), &given, &constraints)), chosen(&alone));
}

proptest! {
    /// What is given back is never more than the machine has, and never makes a budget smaller.
    #[test]
    fn memory_given_back_stays_within_the_machine(available in 0u64..16_384, weights in 0u64..16_384) {
        let now = Measurements { memory_total_bytes: 16_384 << 20, ..machine(available) };
        let then = given_back(&now, &candidate("Q8_0", weights, 8_500).facts, &Constraints::default());
        prop_assert!(then.memory_available_bytes <= now.memory_total_bytes);
        prop_assert!(then.memory_available_bytes >= now.memory_available_bytes);
        prop_assert!(budget(&then).usable_bytes >= budget(&now).usable_bytes);
    }
}
