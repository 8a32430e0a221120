"""Flask-RESTful."""

from __future__ import annotations

import typing as t

import pytest
from flask import Flask
from flask import request
from flask_restful import abort
from flask_restful import Api
from flask_restful import fields
from flask_restful import marshal_with
from flask_restful import reqparse
from flask_restful import Resource

EXTENSION = "Flask-RESTful"

TODOS = {"todo1": {"task": "build an API", "secret": "s"}, "todo2": {"task": "?", "secret": "s"}}
SHOWN = {"task": fields.String, "uri": fields.Url("todo")}


@pytest.fixture
def app(app: Flask, painted: t.Any) -> Flask:
    # Flask-RESTful raises what it could answer where exceptions are propagated.
    app.testing = False
    api = Api(app)
    parser = reqparse.RequestParser()
    parser.add_argument("task", required=True, help="what is to be done?")
    parser.add_argument("times", type=int, default=1)

    class Todo(Resource):
        @painted
        def get(self, todo_id: str) -> t.Any:
            if todo_id not in TODOS:
                abort(404, message=f"there is no {todo_id}")
            return TODOS[todo_id], 200, {"X-Todo": todo_id}

        @painted
        def put(self, todo_id: str) -> t.Any:
            arguments = parser.parse_args()
            return {"id": todo_id, **arguments}, 201

        @painted
        def post(self, todo_id: str) -> t.Any:
            return {"sent": request.get_json()}

        @painted
        def delete(self, todo_id: str) -> t.Any:
            raise LookupError(todo_id)

    class Shown(Resource):
        method_decorators = [marshal_with(SHOWN)]

        @painted
        def get(self, todo_id: str) -> t.Any:
            return {**TODOS[todo_id], "todo_id": todo_id}

    api.add_resource(Todo, "/todos/<todo_id>", endpoint="todo")
    api.add_resource(Shown, "/shown/<todo_id>")

    @api.representation("text/csv")
    def as_csv(data: t.Any, code: int, headers: t.Any = None) -> t.Any:
        return app.make_response((",".join(data.values()), code, headers))

    return app


def test_resources_answer_with_data_status_and_headers(client: t.Any) -> None:
    answer = client.get("/todos/todo1")
    assert (answer.status_code, answer.json) == (200, TODOS["todo1"])
    assert answer.headers["X-Todo"] == "todo1"


def test_a_method_gets_the_body(client: t.Any) -> None:
    assert client.post("/todos/todo1", json=[1]).json == {"sent": [1]}


def test_abort_and_missing_methods_answer_in_json(client: t.Any) -> None:
    answer = client.get("/todos/none")
    assert (answer.status_code, answer.json) == (404, {"message": "there is no none"})
    answer = client.post("/shown/todo1")
    assert answer.status_code == 405 and "not allowed" in answer.json["message"]


def test_an_error_answers_in_json(client: t.Any) -> None:
    answer = client.delete("/todos/todo1")
    assert (answer.status_code, answer.json) == (500, {"message": "Internal Server Error"})


def test_arguments_are_parsed(client: t.Any) -> None:
    answer = client.put("/todos/todo3", json={"task": "rest", "times": "2"})
    assert answer.status_code == 201
    assert answer.json == {"id": "todo3", "task": "rest", "times": 2}
    answer = client.put("/todos/todo3", json={"task": "rest", "times": "x"})
    assert answer.status_code == 400 and "times" in answer.json["message"]


def test_results_are_marshalled(client: t.Any) -> None:
    expected = {"task": "build an API", "uri": "/todos/todo1"}
    assert client.get("/shown/todo1").json == expected


def test_the_accept_header_chooses_the_representation(client: t.Any) -> None:
    answer = client.get("/todos/todo1", headers={"Accept": "text/csv"})
    assert (answer.mimetype, answer.text) == ("text/csv", "build an API,s")
