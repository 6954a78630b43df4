//! From values of the schema to a tree that can be laid out.

use std::fmt;

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A value as RON has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Nothing is written: an absent option.
    Absent,
    /// A word, a text in quotes, a truth value.
    Word(String),
    /// A whole number.
    Number(i128),
    /// `[a, b]`
    List(Vec<Self>),
    /// `(a, b)`, or `Variant(a, b)`
    Tuple(&'static str, Vec<Self>),
    /// `(a: 1, b: 2)`, or `Variant(a: 1, b: 2)`
    Fields(Fields),
}

/// A struct, or a variant with named fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Its type: `Device`, or `Stmt::AllocBuffer`.
    pub of: String,
    /// What is written before the parenthesis.
    pub head: &'static str,
    /// Their names and values, in the order of the type.
    pub fields: Vec<(&'static str, Node)>,
}

impl Node {
    /// How many values it holds, itself included.
    pub fn size(&self) -> usize {
        1 + self.children().map(Self::size).sum::<usize>()
    }

    /// What it is made of.
    pub fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match self {
            Self::Absent | Self::Word(_) | Self::Number(_) => Box::new(std::iter::empty()),
            Self::List(nodes) | Self::Tuple(_, nodes) => Box::new(nodes.iter()),
            Self::Fields(fields) => Box::new(fields.fields.iter().map(|(_, node)| node)),
        }
    }

    /// The n-th of what it is made of.
    pub fn child_mut(&mut self, n: usize) -> Option<&mut Self> {
        match self {
            Self::Absent | Self::Word(_) | Self::Number(_) => None,
            Self::List(nodes) | Self::Tuple(_, nodes) => nodes.get_mut(n),
            Self::Fields(fields) => fields.fields.get_mut(n).map(|(_, node)| node),
        }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Self> {
        let Self::Fields(fields) = self else { return None };
        fields.fields.iter().find(|(field, _)| *field == name).map(|(_, node)| node)
    }

    /// The value of a field.
    pub fn field_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Fields(fields) = self else { return None };
        fields.fields.iter_mut().find(|(field, _)| *field == name).map(|(_, node)| node)
    }

    /// The items of a list.
    pub fn items(&self) -> &[Self] {
        if let Self::List(nodes) = self { nodes } else { &[] }
    }

    /// The items of a list.
    pub fn items_mut(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::List(nodes) = self { Some(nodes) } else { None }
    }

    /// The node that a path of child numbers leads to.
    pub fn at_mut(&mut self, path: &[usize]) -> Option<&mut Self> {
        path.iter().try_fold(self, |node, n| node.child_mut(*n))
    }
}

/// The tree of a value.
pub(crate) fn of(value: &impl Serialize) -> Node {
    // Every type of the schema is made of what is handled below.
    value.serialize(Build).unwrap_or(Node::Absent)
}

/// Makes a node.
struct Build;

/// Collects the parts of a node.
struct Parts {
    of: String,
    head: &'static str,
    list: bool,
    nodes: Vec<Node>,
    fields: Vec<(&'static str, Node)>,
}

impl Parts {
    fn new(of: String, head: &'static str, list: bool) -> Self {
        Self { of, head, list, nodes: Vec::new(), fields: Vec::new() }
    }

    fn push(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), fmt::Error> {
        self.nodes.push(value.serialize(Build)?);
        Ok(())
    }

    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), fmt::Error> {
        self.fields.push((name, value.serialize(Build)?));
        Ok(())
    }

    fn end(self) -> Node {
        if self.list { Node::List(self.nodes) } else { Node::Tuple(self.head, self.nodes) }
    }

    fn end_fields(self) -> Node {
        Node::Fields(Fields { of: self.of, head: self.head, fields: self.fields })
    }
}

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {
        $(fn $name(self, v: $type) -> Result<Node, fmt::Error> { Ok(Node::Number(v.into())) })*
    };
}

impl Serializer for Build {
    type Ok = Node;
    type Error = fmt::Error;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    numbers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_u8: u8,
        serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    );

    fn serialize_bool(self, v: bool) -> Result<Node, fmt::Error> {
        Ok(Node::Word(v.to_string()))
    }

    fn serialize_f32(self, v: f32) -> Result<Node, fmt::Error> {
        Ok(Node::Word(format!("{v:?}")))
    }

    fn serialize_f64(self, v: f64) -> Result<Node, fmt::Error> {
        Ok(Node::Word(format!("{v:?}")))
    }

    fn serialize_char(self, v: char) -> Result<Node, fmt::Error> {
        Ok(Node::Word(format!("{v:?}")))
    }

    fn serialize_str(self, v: &str) -> Result<Node, fmt::Error> {
        Ok(Node::Word(ron::to_string(v).map_err(|_| fmt::Error)?))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Node, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_none(self) -> Result<Node, fmt::Error> {
        Ok(Node::Absent)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Node, fmt::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Node, fmt::Error> {
        Ok(Node::Word("()".to_owned()))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Node, fmt::Error> {
        Ok(Node::Word("()".to_owned()))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Node, fmt::Error> {
        Ok(Node::Word(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Node, fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Node, fmt::Error> {
        // The fields of a struct stand in the variant's own parentheses.
        Ok(match value.serialize(Self)? {
            Node::Fields(inner) if inner.head.is_empty() => Node::Fields(Fields { head: variant, ..inner }),
            other => Node::Tuple(variant, vec![other]),
        })
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, fmt::Error> {
        Ok(Parts::new(String::new(), "", true))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts, fmt::Error> {
        Ok(Parts::new(String::new(), "", false))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts, fmt::Error> {
        Ok(Parts::new(String::new(), "", false))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, fmt::Error> {
        Ok(Parts::new(String::new(), variant, false))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts, fmt::Error> {
        Ok(Parts::new(name.to_owned(), "", false))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, fmt::Error> {
        Ok(Parts::new(format!("{name}::{variant}"), variant, false))
    }
}

impl SerializeSeq for Parts {
    type Ok = Node;
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.push(value)
    }

    fn end(self) -> Result<Node, fmt::Error> {
        Ok(self.end())
    }
}

impl SerializeTuple for Parts {
    type Ok = Node;
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.push(value)
    }

    fn end(self) -> Result<Node, fmt::Error> {
        Ok(self.end())
    }
}

impl SerializeTupleStruct for Parts {
    type Ok = Node;
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.push(value)
    }

    fn end(self) -> Result<Node, fmt::Error> {
        Ok(self.end())
    }
}

impl SerializeTupleVariant for Parts {
    type Ok = Node;
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.push(value)
    }

    fn end(self) -> Result<Node, fmt::Error> {
        Ok(self.end())
    }
}

impl SerializeMap for Parts {
    type Ok = Node;
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), fmt::Error> {
        Err(fmt::Error)
    }

    fn end(self) -> Result<Node, fmt::Error> {
        Err(fmt::Error)
    }
}

impl SerializeStruct for Parts {
    type Ok = Node;
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<Node, fmt::Error> {
        Ok(self.end_fields())
    }
}

impl SerializeStructVariant for Parts {
    type Ok = Node;
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<Node, fmt::Error> {
        Ok(self.end_fields())
    }
}
