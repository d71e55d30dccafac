"""The GraphQL endpoint: `schema.graphql` with the resolvers of `dth.hub`, and the limits of
requests."""

import asyncio
import logging
import math
import re
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionContext,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SchemaMetaFieldDef,
    SelectionSetNode,
    TypeMetaFieldDef,
    TypeNameMetaFieldDef,
    Undefined,
    VariableNode,
    assert_valid_schema,
    build_schema,
    execute,
    get_named_type,
    parse,
    validate,
)
from graphql.pyutils import Path

from dth.core.errors import HubError
from dth.hub.api import FIELDS, code_of, resolve
from dth.hub.model import Identity
from dth.hub.ports import HubPorts
from dth.hub.schema import schema_text
from dth.platforms.local.budget import Spent

log = logging.getLogger(__name__)

MAX_QUERY = 50_000  # characters
MAX_DEPTH = 12
# Levels below __schema and __type: the usual query has 15.
MAX_INTROSPECTION = 20
# Of types within types, as in graphql-js: each multiplies the size of the answer.
MAX_LISTS = 3
LISTS = ("fields", "interfaces", "possibleTypes", "inputFields")
# Per request, used or not; fragments count as often as they are used.
MAX_FIELDS = 2_000
# Root fields per request: each may cost a page.
MAX_ROOTS = 20
# Fields of one name in one selection: they are compared pairwise.
MAX_SAME = 20
MAX_DEFINITIONS = 30  # operations and fragments
MAX_TOKENS = 10_000
# Estimated values in an answer: each takes time during which nobody else is answered.
MAX_VALUES = 100_000
META = {
    "__schema": SchemaMetaFieldDef,
    "__type": TypeMetaFieldDef,
    "__typename": TypeNameMetaFieldDef,
}
# Arguments that set the length of the list in an answer.
PAGE_SIZES = ("limit", "count")
# The default if not given, and the limit of every resolver.
USUAL_PAGE, LONGEST_PAGE = 1000, 10_000
FEW = 10  # entries of a list within an entry
MAX_NESTING = 50  # levels of JSON
# Values in the JSON of a request. Each root field that uses a variable reads all of it.
MAX_INPUTS = 10_000
MAX_TEXT = 100_000  # characters of one text in the variables
# Queries that are kept as they were read, and the characters of the longest: some megabytes in all.
KEPT, MAX_KEPT = 64, 4_000
SURROGATE = re.compile("[\ud800-\udfff]")

# Validating some queries takes long. It must not delay other answers, or the checking of passwords.
_checks = ThreadPoolExecutor(1, "graphql")


def load_schema() -> GraphQLSchema:
    """The schema, with every root field bound to its resolver. A field without a resolver, or a
    resolver without a field, is a defect."""
    schema = build_schema(schema_text())
    assert_valid_schema(schema)
    roots = {False: schema.query_type, True: schema.mutation_type}
    declared = {
        (name, changes): field
        for changes, root in roots.items()
        if root
        for name, field in root.fields.items()
    }
    if unbound := declared.keys() ^ {(name, field.changes) for name, field in FIELDS.items()}:
        names = sorted(name for name, _ in unbound)
        raise AssertionError(f"fields without a resolver, or resolvers without a field: {names}")
    for field in declared.values():
        field.resolve = _answer
    moment = schema.type_map["AWSDateTime"]
    assert isinstance(moment, GraphQLScalarType)
    # A time is text, which the resolver parses. Without this, any JSON value would be accepted.
    moment.parse_value = GraphQLString.parse_value  # type: ignore[method-assign]
    moment.parse_literal = GraphQLString.parse_literal  # type: ignore[method-assign]
    return schema


async def _answer(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    ports, caller = info.context
    return await resolve(ports, caller, info.field_name, arguments)


async def answer(
    schema: GraphQLSchema,
    ports: HubPorts,
    caller: Identity,
    request: object,
    spent: Spent | None = None,
) -> dict[str, Any]:
    """Answer one request (`query`, `variables`, `operationName`). Never raises: errors are in the
    answer. Adds the time that checking took to `spent`."""
    loop = asyncio.get_running_loop()
    checked = await loop.run_in_executor(_checks, _checked, schema, request, spent or Spent())
    if isinstance(checked, dict):
        return checked
    result = execute(
        schema,
        checked.document,
        context_value=(ports, caller),
        variable_values=checked.variables,
        operation_name=checked.operation,
        execution_context_class=_Execution,
    )
    done: ExecutionResult = result if isinstance(result, ExecutionResult) else await result
    answered: dict[str, Any] = {"data": done.data}
    if done.errors:
        answered["errors"] = [_told(error) for error in done.errors]
    return answered


class _Execution(ExecutionContext):
    """Starts each mutation when the one before it has ended. graphql-core creates all of them
    first, and if one fails, it abandons the others, which Python reports in the log."""

    def execute_fields_serially(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        fields: dict[str, list[FieldNode]],
    ) -> Awaitable[dict[str, Any]]:
        async def one_by_one() -> dict[str, Any]:
            results = {}
            for name, nodes in fields.items():
                result = self.execute_field(
                    parent_type, source_value, nodes, Path(path, name, parent_type.name)
                )
                if self.is_awaitable(result):
                    result = await result
                if result is not Undefined:
                    results[name] = result
            return results

        return one_by_one()


@dataclass(frozen=True, slots=True)
class Checked:
    """A request that passed all checks."""

    document: DocumentNode
    variables: dict[str, Any] | None
    operation: str | None


def _checked(schema: GraphQLSchema, request: object, spent: Spent) -> Checked | dict[str, Any]:
    """Returns the request, ready to be answered, or what is wrong with it. Blocks until it is
    checked."""
    began = time.thread_time()
    try:
        return _check(schema, request)
    except GraphQLError as error:
        return {"errors": [_told(error)]}
    except RecursionError:
        return failure("the query is nested too deeply", "LIMIT")
    finally:
        spent.seconds += time.thread_time() - began


def _check(schema: GraphQLSchema, request: object) -> Checked | dict[str, Any]:
    if not isinstance(request, dict) or not isinstance(request.get("query"), str):
        return failure("a request is JSON with a query", "BAD_INPUT")
    variables, operation, text = (
        request.get("variables"),
        request.get("operationName"),
        request["query"],
    )
    if variables is not None and not isinstance(variables, dict):
        return failure("variables are a JSON object", "BAD_INPUT")
    if operation is not None and not isinstance(operation, str):
        return failure("operationName is a name", "BAD_INPUT")
    if len(text) > MAX_QUERY:
        return failure(f"the query has {len(text)} characters; {MAX_QUERY} are the most", "LIMIT")
    _refuse_values(request)
    # A text that is written out in a query may be secret.
    read = _read_again if len(text) <= MAX_KEPT and '"' not in text else _read
    document, problems = read(schema, text)
    if problems:
        return {"errors": [_told(problem) for problem in problems]}
    values = _Values(schema, document, variables or {}).most()
    if values > MAX_VALUES:
        raise _limit(
            f"the answer may have {values} values; {MAX_VALUES} are the most: ask for fewer "
            "fields, or smaller pages"
        )
    return Checked(document, variables, operation)


def _read(schema: GraphQLSchema, text: str) -> tuple[DocumentNode, list[GraphQLError]]:
    """A query, and what the schema does not allow in it."""
    document = parse(text, max_tokens=MAX_TOKENS)
    _refuse_excess(document)
    return document, validate(schema, document, max_errors=5)


# Clients ask the same again and again with other variables, and reading took half of an answer.
_read_again = lru_cache(KEPT)(_read)


def _refuse_values(request: dict[str, Any]) -> None:
    """Refuse JSON that no resolver should have to read, regardless of its content."""
    level: list[object] = [request]
    count = 0
    for _ in range(MAX_NESTING):
        inner: list[object] = []
        for value in level:
            if isinstance(value, str):
                if not value.isascii() and SURROGATE.search(value):
                    raise GraphQLError("the request has half a character (a lone surrogate) in it")
                if len(value) > MAX_TEXT:
                    raise _limit(f"a text has {len(value)} characters; {MAX_TEXT} are the most")
            elif isinstance(value, dict):
                inner += [*value, *value.values()]
            elif isinstance(value, list):
                inner += value
        if not inner:
            return
        count += len(inner)
        if count > MAX_INPUTS:
            raise _limit(f"the request has more than {MAX_INPUTS} values in its variables")
        level = inner
    raise GraphQLError(f"the request is nested deeper than {MAX_NESTING} levels")


def failure(message: str, code: str) -> dict[str, Any]:
    """An answer with one error."""
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


def _told(error: GraphQLError) -> dict[str, Any]:
    """An error as clients receive it: our own text, or a number to look up in the log. Never a
    traceback."""
    told: dict[str, Any] = dict(error.formatted)
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        given = told.get("extensions") or {}
        told["extensions"] = {"code": "BAD_INPUT", **given}
    elif isinstance(cause, HubError):
        told["message"] = str(cause)
        told["extensions"] = {"code": code_of(cause)}
    else:
        number = uuid.uuid4().hex[:12]
        log.error("error %s", number, exc_info=cause)
        told["message"] = f"internal error; the hub's log has it under {number}"
        told["extensions"] = {"code": "INTERNAL"}
    return told


def _refuse_excess(document: DocumentNode) -> None:
    """Refuse requests that are too deep or ask for too much, before anything is resolved. Unused
    parts count, too, because they are validated."""
    if len(document.definitions) > MAX_DEFINITIONS:
        raise _limit(f"the request has more than {MAX_DEFINITIONS} operations and fragments")
    fragments = {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }
    count = _Count(fragments)
    for node in document.definitions:
        selection: SelectionSetNode | None = getattr(node, "selection_set", None)
        if selection is None:
            continue
        about = node.type_condition.name.value if isinstance(node, FragmentDefinitionNode) else ""
        count.walk(selection, 1, MAX_INTROSPECTION if about.startswith("__") else MAX_DEPTH)
        if isinstance(node, OperationDefinitionNode) and count.roots(selection) > MAX_ROOTS:
            raise _limit(f"the query has more than {MAX_ROOTS} root fields")


@dataclass(slots=True)
class _Count:
    """Counts the fields of a document; the fields of a fragment count as often as it is used."""

    fragments: Mapping[str, FragmentDefinitionNode]
    fields: int = 0

    def walk(
        self,
        selection: SelectionSetNode,
        depth: int,
        most: int,
        lists: int = 0,
        inside: tuple[str, ...] = (),
    ) -> None:
        """`lists`: nested lists of types, in an introspection. `inside`: the fragments on the path
        to here; a fragment that contains itself has no end."""
        if depth > most or len(inside) > most:
            raise _limit(f"the query is deeper than {most} levels")
        names = Counter(
            _answered_as(node) for node in selection.selections if isinstance(node, FieldNode)
        )
        if names and max(names.values()) > MAX_SAME:
            raise _limit(f"the query has a field more than {MAX_SAME} times at one place")
        for node in selection.selections:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise _limit(f"the query asks for more than {MAX_FIELDS} fields")
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name in inside:
                    raise _limit(f"the fragment {name} contains itself")
                if name in self.fragments:
                    self.walk(
                        self.fragments[name].selection_set, depth, most, lists, (*inside, name)
                    )
            elif isinstance(node, InlineFragmentNode):
                self.walk(node.selection_set, depth, most, lists, (*inside, ""))
            elif isinstance(node, FieldNode) and node.selection_set:
                name = node.name.value
                below = MAX_INTROSPECTION if name.startswith("__") else most
                deeper = lists + (name in LISTS and most == MAX_INTROSPECTION)
                if deeper >= MAX_LISTS:
                    raise _limit("the query looks for types within types too often")
                self.walk(node.selection_set, depth + 1, below, deeper, inside)

    def roots(self, selection: SelectionSetNode) -> int:
        """The number of root fields of an operation, including its fragments. `walk` has checked
        that none contains itself."""
        found = 0
        for node in selection.selections:
            if isinstance(node, FieldNode):
                found += 1
            elif isinstance(node, InlineFragmentNode):
                found += self.roots(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value in self.fragments:
                found += self.roots(self.fragments[node.name.value].selection_set)
        return found


class _Values:
    """Estimates how many values the answer to a valid request may have: for lists, as many as were
    requested."""

    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]
    ) -> None:
        self._schema = schema
        self._document = document
        self._variables = variables
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._sizes = _sizes(schema)

    def most(self) -> int:
        """The estimate of the largest operation."""
        return max(
            (
                self._of(node.selection_set, root, 0)
                for node in self._document.definitions
                if isinstance(node, OperationDefinitionNode)
                and (root := self._schema.get_root_type(node.operation))
            ),
            default=0,
        )

    def _of(self, selection: SelectionSetNode, kind: GraphQLObjectType, page: int) -> int:
        """`page`: length of the first list below; 0: the list is above, or this is a root."""
        found = 0
        for node in selection.selections:
            if isinstance(node, FragmentSpreadNode):
                found += self._of(self._fragments[node.name.value].selection_set, kind, page)
            elif isinstance(node, InlineFragmentNode):
                found += self._of(node.selection_set, kind, page)
            elif isinstance(node, FieldNode):
                found += self._of_field(node, kind, page)
        return found

    def _of_field(self, node: FieldNode, kind: GraphQLObjectType, page: int) -> int:
        field = kind.fields.get(node.name.value) or META[node.name.value]
        inner = get_named_type(field.type)
        given = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        is_list = isinstance(given, GraphQLList)
        if kind in (self._schema.query_type, self._schema.mutation_type):
            page = self._page(node, field)
        if inner.name.startswith("__") or kind.name.startswith("__"):
            entries = self._sizes.get(node.name.value, 1) if is_list else 1
        elif is_list:
            entries, page = page or FEW, 0
        else:
            entries = 1
        if not node.selection_set or not isinstance(inner, GraphQLObjectType):
            return entries
        return entries * (1 + self._of(node.selection_set, inner, page))

    def _page(self, node: FieldNode, field: GraphQLField) -> int:
        """The page size that a root field asks for; 0: it has no pages."""
        declared = [name for name in PAGE_SIZES if name in field.args]
        if not declared:
            return 0
        given = {each.name.value: each.value for each in node.arguments}.get(declared[0])
        match given:
            case None:
                size = field.args[declared[0]].default_value
            case IntValueNode():
                size = int(given.value)
            case VariableNode():
                # An operation may have a default.
                size = self._variables.get(given.name.value, USUAL_PAGE)
            case _:
                size = 0
        # 1000.0 is a valid Int, too. Invalid values are refused.
        return int(size) if isinstance(size, int | float) and 0 < size <= LONGEST_PAGE else 0


@lru_cache(maxsize=1)
def _sizes(schema: GraphQLSchema) -> dict[str, int]:
    """The approximate lengths of the lists of an introspection."""
    kinds = list(schema.type_map.values())
    fields = [list(kind.fields.values()) for kind in kinds if isinstance(kind, GraphQLObjectType)]
    inputs = [len(kind.fields) for kind in kinds if isinstance(kind, GraphQLInputObjectType)]
    words = [len(kind.values) for kind in kinds if isinstance(kind, GraphQLEnumType)]
    arguments = [len(each.args) for some in fields for each in some]
    return {
        "types": len(kinds),
        "directives": len(schema.directives),
        "fields": _average(map(len, fields)),
        "args": _average(arguments),
        "inputFields": _average(inputs),
        "enumValues": _average(words),
    }


def _average(numbers: Iterable[int]) -> int:
    found = list(numbers)
    return math.ceil(sum(found) / max(1, len(found)))


def _answered_as(node: FieldNode) -> str:
    return node.alias.value if node.alias else node.name.value


def _limit(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": "LIMIT"})
