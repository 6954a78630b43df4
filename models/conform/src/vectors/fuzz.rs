//! Every operation with every kind of argument that its table allows: no model may panic, and no table may disagree
//! with the code behind it.

use proptest::prelude::*;
use proptest::strategy::Union;
use proptest::test_runner::{RngSeed, TestRunner};
use serde_json::{Value, json};
use sim::explore::catching;

use super::parse;
use super::subject::{Kind, Version};
use super::table::{Form, Param, Role, Spec};

/// Values of a kind that allocators stumble over.
fn value(form: Form) -> BoxedStrategy<Value> {
    match form {
        Form::UpTo(most) => prop_oneof![
            3 => (0..64u32, any::<bool>())
                .prop_map(move |(shift, less)| json!((1u64 << shift).wrapping_sub(u64::from(less)).min(most))),
            3 => (0..=most.min(1 << 20)).prop_map(|value| json!(value)),
            2 => (0..4096u64).prop_map(move |page| json!((page * 4096).min(most))),
            1 => Just(json!(most)),
            1 => (0..=most).prop_map(|value| json!(value)),
        ]
        .boxed(),
        Form::Node(most) => prop_oneof![Just(json!(-1)), (0..4u64).prop_map(|n| json!(n)), Just(json!(most)), Just(json!(1024))]
            .boxed(),
        Form::PowerOfTwo => (0..64u32).prop_map(|shift| json!(1u64 << shift)).boxed(),
        Form::Text => prop_oneof![
            Just(json!("-")),
            "[0-9]{0,6}(,[0-9]{0,4})?(,force)?".prop_map(|text| json!(text)),
            ".{0,8}".prop_map(|text| json!(text)),
        ]
        .boxed(),
    }
}

/// A call of an operation, with a result that is most likely wrong.
fn call(spec: &'static Spec) -> BoxedStrategy<Value> {
    let name = spec.name;
    let args: Vec<_> = spec.params.iter().map(|Param { form, .. }| value(*form)).collect();
    args.prop_map(move |args| json!({ "op": name, "args": args, "result": 0 })).boxed()
}

fn calls(kind: Kind, version: Version) -> impl Strategy<Value = (Value, Vec<Value>)> {
    let known = |spec: &&Spec| !spec.new || version == Version::V6_12;
    let makers = kind.table().iter().filter(|spec| spec.role == Role::Makes).map(call);
    let others = kind.table().iter().filter(known).map(call);
    (Union::new(makers), prop::collection::vec(Union::new(others), 1..40))
}

/// Carries all operations out, until the kernel would end.
fn settle(kind: Kind, version: Version, ops: &[Value]) -> Result<(), TestCaseError> {
    let line = json!({ "kind": kind.name(), "kernel": version.name(), "ops": ops, "final": 0 }).to_string();
    let sequence = parse::sequence(&line).map_err(|error| TestCaseError::fail(error.what))?;
    let mut subject = kind.subject(version);
    for op in &sequence.ops {
        let answer = catching(|| subject.apply(op.spec.name, &op.args));
        let answer = answer
            .map_err(|panic| TestCaseError::fail(format!("{panic}: {} {}", op.spec.name, op.written)))?;
        // Sizes that nobody can have recorded are refused; what ends the kernel ends the sequence.
        match answer {
            Ok(answer) if matches!(answer.as_str(), Some("bug" | "panic" | "hang" | "null pointer")) => {
                return Ok(());
            }
            Ok(_) => {
                let rule = subject.check().err();
                prop_assert!(rule.is_none(), "{rule:?}: {} {}\n{line}", op.spec.name, op.written);
            }
            Err(_) => return Ok(()),
        }
    }
    catching(|| subject.state()).map_err(TestCaseError::fail)?;
    Ok(())
}

fn run(kind: Kind, version: Version, cases: u32) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&calls(kind, version), |(maker, mut ops)| {
        ops.insert(0, maker);
        settle(kind, version, &ops)
    });
    assert!(result.is_ok(), "{}", result.err().map_or(String::new(), |error| error.to_string()));
}

#[test]
fn memblock_takes_everything() {
    run(Kind::Memblock, Version::V6_1, 150);
    run(Kind::Memblock, Version::V6_12, 150);
}

#[test]
fn swiotlb_takes_everything() {
    run(Kind::Swiotlb, Version::V6_1, 60);
    run(Kind::Swiotlb, Version::V6_12, 60);
}

#[test]
fn growing_swiotlb_takes_everything() {
    run(Kind::SwiotlbDynamic, Version::V6_12, 60);
}

#[test]
fn iova_takes_everything() {
    run(Kind::Iova, Version::V6_1, 150);
    run(Kind::Iova, Version::V6_12, 150);
}
