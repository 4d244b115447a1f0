"""The views."""
import os

import django
from django.shortcuts import render


def hello(request):
    context = {'name': request.GET.get('name', 'World'), 'service': os.environ['GAE_SERVICE'], 'version': django.get_version()}
    return render(request, 'hello.html', context)
