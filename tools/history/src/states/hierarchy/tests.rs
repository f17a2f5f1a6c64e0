use super::*;

/// Every shape of up to six layers with exponents below 7.
fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for set in 1_u32..1 << 7 {
        let exponents: Vec<u8> = (0..7).rev().filter(|bit| set >> bit & 1 == 1).collect();
        for flat in 1..=exponents.len() {
            let (flat, chained) = exponents.split_at(flat);
            if exponents.len() <= 6 {
                shapes.push(Shape::new(flat, chained).unwrap());
            }
        }
    }
    assert!(shapes.len() > 400, "{}", shapes.len());
    shapes
}

/// For each slot below `slots` the most records on a path over any bases that are allowed.
fn longest_paths(hierarchy: &Hierarchy, slots: u64) -> Vec<u64> {
    let mut longest: Vec<u64> = Vec::new();
    for slot in (0..slots).map(Slot) {
        let bases = hierarchy.bases(slot);
        assert_eq!(bases.is_empty(), hierarchy.layer(slot) == Layer::Raw, "{hierarchy:?}, {slot}");
        let of_base = bases.iter().map(|base| {
            assert!(*base < slot, "{hierarchy:?}: {slot} refers to {base}");
            assert!(*base >= hierarchy.shape().window(slot), "{hierarchy:?}: {slot} to {base}");
            assert!(hierarchy.allows(slot, *base), "{hierarchy:?}: {slot} to {base}");
            longest[usize::try_from(base.0).unwrap()]
        });
        longest.push(1 + of_base.max().unwrap_or(0));
    }
    longest
}

#[test]
fn every_path_descends_to_a_raw_state_within_the_bound_of_its_shape() {
    for shape in shapes() {
        let bound = shape.max_steps();
        for bases in [&[][..], &[1], &[3, 24, 40, 100]] {
            let hierarchy = Hierarchy::new(shape.clone());
            let hierarchy =
                bases.iter().map(|base| Slot(*base)).fold(hierarchy, Hierarchy::with_base);
            let longest = longest_paths(&hierarchy, 256);
            assert!(longest.iter().all(|steps| *steps <= bound), "{hierarchy:?}: {bound}");
            for slot in (0..256).map(Slot) {
                let path = hierarchy.path(slot);
                assert_eq!(hierarchy.layer(*path.last().unwrap()), Layer::Raw);
                assert!(path.len() as u64 <= longest[usize::try_from(slot.0).unwrap()]);
            }
        }
        let longest = longest_paths(&Hierarchy::new(shape.clone()), 256);
        assert_eq!(longest.into_iter().max(), Some(bound), "{shape}");
    }
}

#[test]
fn the_default_of_mainnet_gives_each_slot_its_layer_and_base() {
    let shape = Shape::of_preset(Preset::Mainnet);
    assert_eq!(shape.to_string(), "18,13,11,9+5,0");
    assert_eq!(shape.max_steps(), 31 + 15 + 4);
    let hierarchy = Hierarchy::new(shape);
    let window = 3 << 18;
    for (slot, layer, bases) in [
        (0, Layer::Raw, &[][..]),
        (window, Layer::Raw, &[]),
        (window + 31 * 8192, Layer::Flat(13), &[window]),
        (window + 8192 + 2048, Layer::Flat(11), &[window + 8192, window]),
        (window + 2048, Layer::Flat(11), &[window]),
        (window + 8192 + 7 * 512, Layer::Flat(9), &[window + 8192 + 2048, window + 8192, window]),
        (window + 512 + 64, Layer::Chained(5), &[window + 512 + 32, window + 512, window]),
        (window + 33, Layer::Chained(0), &[window + 32, window]),
        (window + 1, Layer::Chained(0), &[window]),
    ] {
        let bases: Vec<_> = bases.iter().copied().map(Slot).collect();
        let slot = Slot(slot);
        assert_eq!((hierarchy.layer(slot), hierarchy.bases(slot)), (layer, bases), "{slot}");
    }
    let last = Slot(window + 15 * 512 + 511);
    let path = hierarchy.path(last);
    assert_eq!(path.len(), 31 + 15 + 4 - 1, "{path:?}");
    assert_eq!(path[..2], [last, Slot(last.0 - 1)]);
    assert_eq!(path[31..33], [Slot(window + 15 * 512 + 480), Slot(window + 15 * 512 + 448)]);
    assert_eq!(path[46..], [15 * 512, 3 * 2048, 0].map(|slot| Slot(window + slot)));
}

#[test]
fn the_defaults_of_the_other_presets_follow_their_eras_and_epochs() {
    assert_eq!(Shape::of_preset(Preset::Minimal).to_string(), "11,6,4+3,0");
    assert_eq!(Shape::of_preset(Preset::Gnosis).to_string(), "18,13,11,9+4,0");
}

#[test]
fn a_listed_base_is_raw_and_serves_the_slots_above_it_in_its_window() {
    let hierarchy = Hierarchy::new("11,6".parse().unwrap());
    let hierarchy = hierarchy.with_base(Slot(192)).with_base(Slot(128)).with_base(Slot(192));
    assert_eq!(hierarchy.listed_bases(), [Slot(128), Slot(192)]);
    assert_eq!(hierarchy.layer(Slot(128)), Layer::Raw);
    assert_eq!(hierarchy.bases(Slot(128)), []);
    assert_eq!(hierarchy.bases(Slot(64)), [Slot(0)]);
    assert_eq!(hierarchy.bases(Slot(256)), [Slot(0), Slot(192), Slot(128)]);
    assert_eq!(hierarchy.bases(Slot(2048 + 64)), [Slot(2048)]);
    assert!(!hierarchy.allows(Slot(256), Slot(64)));
    assert!(!hierarchy.allows(Slot(2048 + 64), Slot(192)));
}

#[test]
fn a_slot_of_no_layer_refers_to_the_last_flat_layer() {
    let shape: Shape = "11,6+4".parse().unwrap();
    assert_eq!(shape.layer(Slot(64 + 17)), Layer::None);
    assert_eq!(Hierarchy::new(shape).bases(Slot(64 + 17)), [Slot(64), Slot(0)]);
}

#[test]
fn what_earlier_layers_allowed_stays_allowed() {
    let hierarchy = Hierarchy::new("11,6+3".parse().unwrap());
    assert!(hierarchy.allows(Slot(24), Slot(16)));
    let hierarchy = hierarchy.reshaped("12,6".parse().unwrap());
    assert!(hierarchy.allows(Slot(24), Slot(16)));
    assert_eq!(hierarchy.bases(Slot(24)), [Slot(0)]);
    assert_eq!(hierarchy.bases(Slot(2048)), [Slot(0)]);
    let back = hierarchy.reshaped("11,6+3".parse().unwrap());
    assert_eq!(back.before(), ["12,6".parse().unwrap()]);
}

#[test]
fn the_text_form_names_every_exponent_and_refuses_what_is_no_shape() {
    for text in ["18,13,11,9+5,0", "13", "11,6", "5+0", "0"] {
        assert_eq!(text.parse::<Shape>().unwrap().to_string(), text);
    }
    assert_eq!(" 11, 6 + 3".parse::<Shape>().unwrap().to_string(), "11,6+3");
    for (text, wanted) in [
        ("", "\"\" is not an exponent"),
        ("11,x", "\"x\" is not an exponent"),
        ("41", "\"41\" is not an exponent"),
        ("+5,0", "\"\" is not an exponent"),
        ("11+", "\"\" is not an exponent"),
        ("6,11", "exponent 11 after 6"),
        ("11,6+6", "exponent 6 after 6"),
        ("18+0", "a path of up to 262144 records"),
        ("9,8,7,6,5,4,3,2+1", "9 layers: at most 8"),
    ] {
        let error = text.parse::<Shape>().unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{text}: {error}");
    }
    assert_eq!(Shape::new(&[], &[0]), Err(BadShape::NoFlatLayer));
}

#[test]
fn a_manifest_keeps_the_hierarchy() {
    let mut manifest = Manifest::default();
    let of = |manifest: &Manifest| Hierarchy::of_manifest("A".as_ref(), manifest, Preset::Minimal);
    let default = Hierarchy::new(Shape::of_preset(Preset::Minimal));
    assert_eq!(of(&manifest).unwrap(), default);
    let hierarchy = default.reshaped("12,6+3".parse().unwrap()).with_base(Slot(64));
    hierarchy.record(&mut manifest);
    assert_eq!(manifest.state_layers, ["11,6,4+3,0", "12,6+3"]);
    assert_eq!(of(&manifest).unwrap(), hierarchy);
    manifest.state_layers.push("of a later version".to_owned());
    let error = of(&manifest).unwrap_err().to_string();
    assert!(error.contains("A/archive.toml") && error.contains("of a later version"), "{error}");
}
