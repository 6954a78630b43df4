//! `docs/scenario-reference.md` against the schema: every type, field and variant stands there with its type and its
//! default, nothing else does, and the examples are what they claim to be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ron::extensions::Extensions;
use scenario as s;
use scenario::profile::{Behaviour, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_reflection::{ContainerFormat, Format, Registry, Tracer, TracerConfig, VariantFormat};

/// Every type of the schema that has fields or variants, by its name.
macro_rules! types {
    ($($name:ident)*) => {
        /// Reads a value of the named type, and gives it back with all defaults spelt out.
        fn parse(name: &str, text: &str) -> Result<Value, String> {
            match name {
                $(stringify!($name) => round_trip::<s::$name>(text),)*
                other => Err(format!("no type {other} in this test")),
            }
        }

        /// What the schema says about itself.
        fn registry() -> Registry {
            let mut tracer = Tracer::new(TracerConfig::default());
            $(tracer.trace_simple_type::<s::$name>().expect("a type that can be traced");)*
            tracer.registry().expect("all of the schema")
        }

        const TYPES: &[&str] = &[$(stringify!($name)),*];
    };
}

types! {
    ScenarioFile Variant Kernel MachineRef DriverRef Explore Strategy OnFinding Expect FindingPattern SeedCount
    Machine CpuVendor E820Entry E820Change E820Kind Node AddrRange Region Reserved ReservedAt Early Freed FreedBy FreedAt Iommu SmmuV3 DomainRange MemEncrypt MemoryOrder Device Supplier Property InFlight Bus Cap Plugged Unplugged
    Driver PmOps Registers ProbeType Queue Stmt LinkFlag MapArgs MapSgArgs PartArgs UnmapArgs UnmapSgArgs MadeBy SyncArgs SubmitArgs Access Dir Attr OnError BufferSource DeviceArg
    Process ProcStmt Reboot Inject AllocFail Chance Delay HotUnplug Trample Window Dist JunkClass CpuChoice
}

/// The fields that must be given, with a value each. All others have a default.
const REQUIRED: &[(&str, &[(&str, &str)])] = &[
    ("Variant", &[("name", "\"v\"")]),
    ("Kernel", &[("version", "\"5.13\"")]),
    ("Machine", &[("name", "\"m\""), ("cpu_vendor", "Amd"), ("cpus", "1"), ("e820", "[]")]),
    ("E820Entry", &[("start", "0"), ("end", "1"), ("kind", "Usable")]),
    ("E820Change", &[("start", "0"), ("end", "1")]),
    ("Node", &[("id", "0"), ("ranges", "[]")]),
    ("AddrRange", &[("start", "0"), ("end", "1")]),
    ("Region", &[("start", "0"), ("size", "1")]),
    ("Reserved", &[("name", "\"r\""), ("region", "(start: 0, size: 1)")]),
    ("Early", &[("per_cpu", "0"), ("per_cpu_unit", "1")]),
    ("Freed", &[("by", "MemblockFree"), ("at", "SetupArch")]),
    ("Device", &[("bdf", "\"0000:00:00.0\"")]),
    ("DomainRange", &[("first", "1"), ("last", "2")]),
    ("Supplier", &[("property", "Clocks"), ("bdf", "\"0000:00:00.0\"")]),
    ("Stmt::AddLink", &[("supplier", "\"b\"")]),
    ("Stmt::RemoveLink", &[("supplier", "\"b\"")]),
    ("InFlight", &[("domain", "1"), ("iova", "0"), ("phys", "0"), ("size", "4096"), ("every_us", "1")]),
    ("Driver", &[("name", "\"d\"")]),
    ("Queue", &[("name", "\"q\""), ("body", "[]")]),
    ("MapArgs", &[("name", "\"m\""), ("dir", "ToDevice")]),
    ("MapSgArgs", &[("name", "\"m\""), ("entries", "Fixed(1)"), ("size", "Fixed(1)"), ("dir", "ToDevice")]),
    ("UnmapArgs", &[("name", "\"m\"")]),
    ("UnmapSgArgs", &[("name", "\"m\"")]),
    ("SyncArgs", &[("name", "\"m\"")]),
    ("PartArgs", &[("name", "\"m\"")]),
    ("SubmitArgs", &[("name", "\"m\""), ("dma", "Read")]),
    ("Process", &[("name", "\"p\""), ("body", "[]")]),
    ("Delay", &[("max_us", "1"), ("percent", "1")]),
    ("AllocFail", &[("per_mille", "1")]),
    ("Chance", &[("percent", "1")]),
    ("Window", &[("max_us", "1")]),
    ("HotUnplug", &[("devices", "1"), ("percent", "1")]),
    ("Trample", &[("object", "\"struct device\""), ("percent", "1")]),
    ("FindingPattern", &[("kind", "\"k\"")]),
    ("Plugged::After", &[("ms", "1")]),
    ("Unplugged::After", &[("ms", "1")]),
    ("OnError::Retry", &[("times", "1"), ("delay_us", "1")]),
    ("Expect::Findings", &[("all", "[]")]),
    ("ProcStmt::AllocPages", &[("count", "Fixed(1)")]),
    ("ProcStmt::FreePages", &[("percent", "1")]),
    ("ProcStmt::AllocObjects", &[("size", "Fixed(1)"), ("count", "Fixed(1)")]),
    ("ProcStmt::FreeObjects", &[("percent", "1")]),
    ("ProcStmt::Sleep", &[("us", "Fixed(1)")]),
    ("ProcStmt::Repeat", &[("times", "Fixed(1)"), ("body", "[]")]),
    ("ProcStmt::Plug", &[("bdf", "\"b\"")]),
    ("ProcStmt::Unplug", &[("bdf", "\"b\"")]),
    ("ProcStmt::Bind", &[("bdf", "\"b\""), ("driver", "\"d\"")]),
    ("ProcStmt::Reboot", &[("how", "Restart")]),
    ("ProcStmt::Unbind", &[("bdf", "\"b\"")]),
    ("ProcStmt::VfioAttach", &[("bdf", "\"b\"")]),
    ("ProcStmt::VfioMap", &[("iova", "0"), ("pages", "1")]),
    ("ProcStmt::VfioUnmap", &[("iova", "0"), ("pages", "1")]),
    ("ProcStmt::VfioDma", &[("bdf", "\"b\""), ("iova", "0"), ("pages", "1")]),
    ("Stmt::SetMask", &[("bits", "1")]),
    ("Stmt::SetCoherentMask", &[("bits", "1")]),
    ("Stmt::SetMinAlignMask", &[("mask", "1")]),
    ("Stmt::SetMaxSegSize", &[("bytes", "1")]),
    ("Stmt::SetSegBoundary", &[("mask", "1")]),
    ("Stmt::DeclareCoherent", &[("region", "(start: 0, size: 1)")]),
    ("Stmt::AllocCoherent", &[("name", "\"n\""), ("size", "Fixed(1)")]),
    ("Stmt::AllocBuffer", &[("name", "\"n\""), ("size", "Fixed(1)")]),
    ("Stmt::FreeCoherent", &[("name", "\"n\"")]),
    ("Stmt::FreeBuffer", &[("name", "\"n\"")]),
    ("Stmt::CpuWrite", &[("name", "\"n\"")]),
    ("Stmt::CpuRead", &[("name", "\"n\"")]),
    ("Stmt::FreeObject", &[("name", "\"n\"")]),
    ("Stmt::Share", &[("name", "\"n\"")]),
    ("Stmt::Take", &[("name", "\"n\""), ("within_us", "1")]),
    ("Stmt::Repeat", &[("times", "Fixed(1)"), ("body", "[]")]),
    ("Stmt::Requeue", &[("times", "1"), ("delay_us", "Fixed(0)"), ("body", "[]")]),
    ("Stmt::Call", &[("function", "\"f\""), ("body", "[]")]),
    ("Stmt::Lock", &[("name", "\"n\""), ("body", "[]")]),
    ("Stmt::IfKernel", &[("has", "\"min-align-mask\""), ("body", "[]")]),
    ("Stmt::Sleep", &[("us", "Fixed(1)")]),
    ("Stmt::Maybe", &[("percent", "1"), ("body", "[]")]),
    ("Stmt::AllocObject", &[("name", "\"n\""), ("type_name", "\"t\""), ("size", "1")]),
    ("Stmt::ReturnError", &[("errno", "1")]),
];

fn round_trip<T: DeserializeOwned + Serialize>(text: &str) -> Result<Value, String> {
    let options = ron::Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME)
        .with_default_extension(Extensions::UNWRAP_NEWTYPES)
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    let value: T = options.from_str(text).map_err(|error| error.to_string())?;
    serde_json::to_value(value).map_err(|error| error.to_string())
}

/// How the reference writes a type.
fn type_name(format: &Format) -> String {
    match format {
        Format::TypeName(name) => format!("[`{name}`](#{})", name.to_lowercase()),
        Format::Option(inner) => format!("optional {}", type_name(inner)),
        Format::Seq(inner) => format!("list of {}", type_name(inner)),
        Format::Tuple(parts) => format!("({})", parts.iter().map(type_name).collect::<Vec<_>>().join(", ")),
        Format::Str => "text".to_owned(),
        Format::Bool => "bool".to_owned(),
        Format::U16 => "u16".to_owned(),
        Format::U32 => "u32".to_owned(),
        Format::U64 => "u64".to_owned(),
        other => format!("{other:?}"),
    }
}

/// How a scenario file would write a value.
fn written(value: &Value) -> String {
    match value {
        Value::Null => "absent".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let variant =
                fields.iter().next().filter(|f| fields.len() == 1 && f.0.starts_with(char::is_uppercase));
            match variant {
                Some((name, inner)) => format!("{name}({})", written(inner)),
                None => {
                    let all: Vec<String> =
                        fields.iter().map(|(k, v)| format!("{k}: {}", written(v))).collect();
                    format!("({})", all.join(", "))
                }
            }
        }
        Value::String(text) if text.starts_with(char::is_uppercase) => text.clone(),
        other => other.to_string(),
    }
}

/// A value of a type, or of an enum's variant, that gives just these fields.
fn minimal(name: &str, fields: &[(&str, &str)]) -> Result<Value, String> {
    let inside: Vec<String> = fields.iter().map(|(field, value)| format!("{field}: {value}")).collect();
    let (type_name, variant) = name.split_once("::").unwrap_or((name, ""));
    let value = parse(type_name, &format!("{variant}({})", inside.join(", ")))?;
    Ok(if variant.is_empty() { value } else { value[variant].clone() })
}

/// The rows that describe the fields of a struct or of a variant.
fn field_rows(name: &str, fields: &[serde_reflection::Named<Format>]) -> Vec<String> {
    let required = REQUIRED.iter().find(|r| r.0 == name).map_or(&[][..], |r| r.1);
    let value = minimal(name, required).unwrap_or_else(|error| panic!("{name}: {error}"));
    for i in 0..required.len() {
        let fewer = [&required[..i], &required[i + 1..]].concat();
        assert!(minimal(name, &fewer).is_err(), "{name}.{} has a default", required[i].0);
    }
    let row = |field: &serde_reflection::Named<Format>| {
        let default = match required.iter().any(|r| r.0 == field.name) {
            true => "required".to_owned(),
            false => match written(&value[&field.name]) {
                absent if absent == "absent" => absent,
                default => format!("`{default}`"),
            },
        };
        format!("| `{}` | {} | {default} | ", field.name, type_name(&field.value))
    };
    fields.iter().map(row).collect()
}

/// The rows that a section must have, for each section.
fn expected() -> BTreeMap<String, Vec<String>> {
    let mut sections = BTreeMap::new();
    for (name, container) in registry() {
        let mut rows = Vec::new();
        match container {
            ContainerFormat::Struct(fields) => rows = field_rows(&name, &fields),
            ContainerFormat::Enum(variants) => {
                for variant in variants.values() {
                    let head = match &variant.value {
                        VariantFormat::Unit => format!("`{}`", variant.name),
                        VariantFormat::NewType(format) => {
                            format!("`{}`({})", variant.name, type_name(format))
                        }
                        VariantFormat::Tuple(parts) => {
                            let parts: Vec<String> = parts.iter().map(type_name).collect();
                            format!("`{}`({})", variant.name, parts.join(", "))
                        }
                        VariantFormat::Struct(fields) => {
                            rows.extend(
                                field_rows(&format!("{name}::{}", variant.name), fields)
                                    .into_iter()
                                    .map(|row| row.replacen("| `", &format!("| `{}.", variant.name), 1)),
                            );
                            format!("`{}`(...)", variant.name)
                        }
                        VariantFormat::Variable(_) => panic!("{name}::{} was not traced", variant.name),
                    };
                    rows.push(format!("| {head} | "));
                }
            }
            other => panic!("{name} is a {other:?}"),
        }
        sections.insert(name, rows);
    }
    sections
}

fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scenario-reference.md");
    fs::read_to_string(path).expect("the reference")
}

/// The sections of the reference that describe a type: "### `Name`" and what follows.
fn sections(text: &str) -> BTreeMap<String, &str> {
    let mut found = BTreeMap::new();
    for part in text.split("\n### ").skip(1) {
        let name = part.lines().next().unwrap_or_default().trim_matches('`').to_owned();
        let end = part.find("\n## ").unwrap_or(part.len());
        assert!(found.insert(name.clone(), &part[..end]).is_none(), "two sections about {name}");
    }
    found
}

#[test]
fn the_reference_lists_every_field_with_its_type_and_default() {
    let text = reference();
    let sections = sections(&text);
    let mut missing = Vec::new();
    for (name, rows) in expected() {
        let section = sections.get(&name).copied().unwrap_or_default();
        let wanted: Vec<&String> = rows.iter().filter(|row| !section.contains(&format!("\n{row}"))).collect();
        missing.extend(wanted.iter().map(|row| format!("{name}: {row}")));
        let listed = section.lines().filter(|l| l.starts_with("| `")).count();
        if wanted.is_empty() && listed != rows.len() {
            missing.push(format!("{name}: {listed} rows, but there are {}", rows.len()));
        }
    }
    assert!(missing.is_empty(), "the reference lacks, or has too much:\n{}", missing.join("\n"));
}

#[test]
fn the_reference_describes_nothing_else() {
    let known = registry();
    for name in sections(&reference()).keys() {
        assert!(known.contains_key(name), "the reference describes {name}, which is no type of the schema");
        assert!(TYPES.contains(&name.as_str()), "{name} is unknown to this test");
    }
    assert_eq!(known.len(), TYPES.len());
}

#[test]
fn the_examples_are_what_their_section_says() {
    let text = reference();
    let mut examples = 0;
    for (name, section) in sections(&text) {
        let before = examples;
        for example in section.split("```ron\n").skip(1) {
            let example = example.split("```").next().unwrap_or_default();
            parse(&name, example).unwrap_or_else(|error| panic!("{name}: {error}\n{example}"));
            examples += 1;
        }
        assert!(examples > before, "{name} has no example");
    }
}

#[test]
fn the_reference_lists_versions_and_behaviours() {
    let text = reference();
    for version in Version::supported_names() {
        assert!(text.contains(&format!("| `{version}` |")), "version {version}");
    }
    for &behaviour in Behaviour::ALL {
        let since = behaviour.since().map_or("", Version::name);
        assert!(
            text.contains(&format!("| `{behaviour}` | {since} |")),
            "behaviour {behaviour} since {since}"
        );
        assert!(text.contains(behaviour.facts().what), "behaviour {behaviour}: what it does");
        for commit in behaviour.facts().commits {
            assert!(text.contains(commit), "{behaviour}: {commit}");
        }
    }
}

#[test]
fn the_reference_lists_the_limits() {
    let text = reference();
    for (what, value) in s::limits::ALL {
        let row = format!("| {} | {value} |", what.trim());
        assert!(text.contains(&row), "{row}");
    }
}
