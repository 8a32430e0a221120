from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.http import HttpResponse
from django.shortcuts import render


def index(request: HttpRequest) -> HttpResponse:
    return render(request, "office/index.html", {"staff": User.objects.order_by("username")})
