"""The GraphQL endpoint: `schema.graphql` with the resolvers of `dth.hub`, and the limits of what may be asked."""

import logging
import uuid
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ariadne import MutationType, QueryType, make_executable_schema
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionSetNode,
    execute,
    parse,
    validate,
)

from dth.errors import HubError
from dth.hub.model import Identity
from dth.hub.ports import HubPorts
from dth.hub.resolvers import FIELDS, code_of, resolve

log = logging.getLogger(__name__)

MAX_QUERY = 50_000  # characters
MAX_DEPTH = 12
MAX_FIELDS = 2_000  # of a query, fragments counted as often as they are used
MAX_ROOTS = 20  # root fields of one request: each may cost a page
MAX_TOKENS = 10_000


def load_schema() -> GraphQLSchema:
    """The schema, every root field bound to its resolver. One without, or a resolver without a field, is a defect."""
    query, mutation = QueryType(), MutationType()
    for name, field in FIELDS.items():
        (mutation if field.changes else query).set_field(name, _answer)
    text = files("dth.hub").joinpath("schema.graphql").read_text("utf-8")
    schema = make_executable_schema(text, query, mutation, convert_names_case=False)
    roots = [kind for kind in (schema.query_type, schema.mutation_type) if kind]
    unbound = {name for kind in roots for name in kind.fields} ^ set(FIELDS)
    if unbound:
        raise AssertionError(f"fields without a resolver, or resolvers without a field: {sorted(unbound)}")
    return schema


async def _answer(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    ports, caller = info.context
    return await resolve(ports, caller, info.field_name, arguments)


async def answer(schema: GraphQLSchema, ports: HubPorts, caller: Identity, request: object) -> dict[str, Any]:
    """Answer one request (`query`, `variables`, `operationName`). Never raises: what failed is in the answer."""
    if not isinstance(request, dict) or not isinstance(request.get("query"), str):
        return failure("a request is JSON with a query", "BAD_INPUT")
    variables = request.get("variables")
    if variables is not None and not isinstance(variables, dict):
        return failure("variables are a JSON object", "BAD_INPUT")
    text = request["query"]
    if len(text) > MAX_QUERY:
        return failure(f"the query has {len(text)} characters; {MAX_QUERY} are the most", "LIMIT")
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
        _refuse_excess(document)
        problems = validate(schema, document, max_errors=5)
    except GraphQLError as error:
        problems = [error]
    if problems:
        return {"errors": [_told(problem) for problem in problems]}
    result = execute(
        schema,
        document,
        context_value=(ports, caller),
        variable_values=variables,
        operation_name=request.get("operationName"),
    )
    done: ExecutionResult = result if isinstance(result, ExecutionResult) else await result
    answered: dict[str, Any] = {"data": done.data}
    if done.errors:
        answered["errors"] = [_told(error) for error in done.errors]
    return answered


def failure(message: str, code: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


def _told(error: GraphQLError) -> dict[str, Any]:
    """An error as clients get it: our own words, or a number to look up in the log. Never a traceback."""
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
    """Refuse what is too deep or asks for too much, before anything is looked up."""
    fragments = {
        node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
    }
    for node in document.definitions:
        selection: SelectionSetNode | None = getattr(node, "selection_set", None)
        if selection is None or isinstance(node, FragmentDefinitionNode):
            continue
        if _count(selection, fragments, 1, [0], ()) > MAX_FIELDS:
            raise _limit(f"the query asks for more than {MAX_FIELDS} fields")
        if len(selection.selections) > MAX_ROOTS:
            raise _limit(f"the query has more than {MAX_ROOTS} root fields")


def _count(
    selection: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    depth: int,
    seen: list[int],
    inside: tuple[str, ...],
) -> int:
    """Fields below a selection. `inside`: the fragments that lead here; one that contains itself has no end."""
    if depth > MAX_DEPTH:
        raise _limit(f"the query is deeper than {MAX_DEPTH} levels")
    for node in selection.selections:
        seen[0] += 1
        if seen[0] > MAX_FIELDS:
            return seen[0]
        if isinstance(node, FragmentSpreadNode):
            name = node.name.value
            if name in inside:
                raise _limit(f"the fragment {name} contains itself")
            if name in fragments:
                _count(fragments[name].selection_set, fragments, depth, seen, (*inside, name))
        elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set:
            below = depth + isinstance(node, FieldNode)
            _count(node.selection_set, fragments, below, seen, inside)
    return seen[0]


def _limit(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": "LIMIT"})
